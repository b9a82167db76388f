"""The edges of mail: SMTP submission, IMAP and POP3 fetching, direct SMTP and LMTP reception."""
