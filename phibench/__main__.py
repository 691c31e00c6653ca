from phibench.cli import main

main()
