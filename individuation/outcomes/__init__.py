"""What tests and experiments found, for people: on the terminal, in a folder of files, as pictures."""
