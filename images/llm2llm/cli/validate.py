"""`llm2llm validate`: checks manifests as the API server would, and reports every problem."""

from __future__ import annotations

from llm2llm.cli.manifests import Paths, print_problems
from llm2llm.errors import InvalidManifest


def validate(files: Paths) -> None:
    """Check manifests and report every problem with its path."""
    from llm2llm.manifests.documents import read_documents, validate_run
    from llm2llm.manifests.problems import check_size

    problems: list[str] = []
    try:
        documents = read_documents(files)
    except InvalidManifest as error:
        raise print_problems(error) from None
    for file, document in documents.runs:
        try:
            checked = validate_run(document)
            check_size(checked.spec, checked.name, checked.namespace)
        except InvalidManifest as error:
            problems += [f"{file}: {problem}" if len(documents.runs) > 1 else problem for problem in error.problems]
        else:
            print(f"{file}: AugmentationRun {checked.name} is valid")
    if problems:
        raise print_problems(InvalidManifest(problems))
