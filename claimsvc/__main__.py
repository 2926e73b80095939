"""`python -m claimsvc` is the console command `claimsvc`."""

from claimsvc.cli import main

if __name__ == "__main__":
    main()
