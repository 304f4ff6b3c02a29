"""The TUF repository on the server's side: metadata, files, online keys, and checks of what a publisher sends."""
