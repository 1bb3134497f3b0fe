"""`python -m cdc_sync`, the same as `cdc-sync`."""

from cdc_sync.cli.app import main

main()
