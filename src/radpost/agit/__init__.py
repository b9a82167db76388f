"""The @GIT dialects: objects become mails, mails become objects (@GIT 1.1r, and @GIT practice after it)."""
