"""The command line: `main` reads it, one file a command runs it.

What a command needs is imported when it runs, so that help is quick.
"""
