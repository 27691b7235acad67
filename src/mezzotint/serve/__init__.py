"""The server: runs behind HTTP, in OpenAI's form and in our own, and a page on which text is seen emerging."""
