from deepfake_lit.cli.main import main

if __name__ == "__main__":
    main()
