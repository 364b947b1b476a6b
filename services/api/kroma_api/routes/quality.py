"""``/api/projects/{slug}/quality-reports``."""

from litestar import Router, get
from litestar.params import FromPath

from kroma.projects.queries import get_project_id
from kroma.quality import queries
from kroma_api.dependencies import Db
from kroma_api.http.pagination import After, Limit, window
from kroma_api.route_facts import VIEW, Idempotency, route
from kroma_api.schemas.quality import ListQualityReportsResponse, QualityReportView


@get("/", opt=route(scope=VIEW, idempotency=Idempotency.READ, contract="3.11"))
async def list_quality_reports(
    slug: FromPath[str], db: Db, limit: Limit = None, after: After = None
) -> ListQualityReportsResponse:
    """The newest quality reports of a project."""
    async with db.reading() as reader:
        project_id = await get_project_id(reader, slug)
        reports = await queries.list_quality_reports(reader, project_id, window=window(limit, after))
    return ListQualityReportsResponse(
        count=len(reports),
        next=reports.following,
        quality_reports=[QualityReportView.from_row(report) for report in reports],
    )


router = Router(
    "/api/projects/{slug:str}/quality-reports", route_handlers=[list_quality_reports], tags=["quality"]
)
