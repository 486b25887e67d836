"""Tells, in the log and in a metric, whether the CRD has the fields that this operator knows.

Every replica looks when it starts and with each complete list, because a CRD is upgraded apart from the operator. What
it finds never makes a replica unready: runs go on with the fields that both know.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from llm2llm_operator.kube.errors import ApiError
from llm2llm_operator.model.crdfields import describe_difference, known_fields, served_fields
from llm2llm_operator.observability import metrics

log = logging.getLogger(__name__)


class ServesOpenApi(Protocol):
    """What the check needs of the client."""

    async def openapi(self) -> dict[str, Any] | None:
        """Returns the OpenAPI v3 document of AugmentationRun's group and version, or None."""
        ...


async def compare_forever(cluster: ServesOpenApi, pause_seconds: float) -> None:
    """Compares until cancelled, and logs each change of what differs once."""
    known, told = known_fields(), ""
    while True:
        try:
            served = served_fields(await cluster.openapi() or {})
        except ApiError as error:
            log.debug("the API server's OpenAPI document could not be read: %s", error)
        else:
            if served:  # a CRD that is being replaced is not served for a moment
                difference = describe_difference(known, served)
                metrics.CRD_DIFFERS.set(bool(difference))
                if difference and difference != told:
                    log.warning("%s", difference)
                elif told and not difference:
                    log.info("the CRD has the fields of this operator again")
                told = difference
        await asyncio.sleep(pause_seconds)
