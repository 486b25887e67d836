module llm2llm.dev/tests/pause

go 1.26.0
