"""The door phone's own web page: its HTML, CSS, JavaScript and picture, as files. Read by `simulators.web_page`."""
