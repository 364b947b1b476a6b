"""How the library's client is set up; it is asked for links, for which it calls nobody."""

from urllib.parse import urlsplit

import pytest
from botocore.endpoint_provider import RuleSet

from kroma.config import S3Access
from kroma.storage.access import RetryPolicy
from kroma.storage.client import s3_client

pytestmark = pytest.mark.timeout(60)


async def link_of(access: S3Access, *keys: str, bucket: str = "comics") -> list[str]:
    async with s3_client(access, guard=None, connections=1, retry_policy=RetryPolicy()) as client:
        links = [
            await client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
            for key in keys
        ]
    assert all("X-Amz-Algorithm=AWS4-HMAC-SHA256" in link for link in links)
    return [f"{split.scheme}://{split.netloc}{split.path}" for split in map(urlsplit, links)]


def access(region: str, endpoint_url: str | None = None) -> S3Access:
    return S3Access(region=region, endpoint_url=endpoint_url, access_key_id="x", secret_access_key="x")


@pytest.mark.parametrize(
    ("region", "endpoint_url", "bucket", "expected"),
    [
        ("eu-west-1", None, "comics", "https://comics.s3.eu-west-1.amazonaws.com/a/b.png"),
        ("eu-west-1", None, "co.mics", "https://s3.eu-west-1.amazonaws.com/co.mics/a/b.png"),
        ("cn-north-1", None, "comics", "https://comics.s3.cn-north-1.amazonaws.com.cn/a/b.png"),
        ("us-east-1", "http://127.0.0.1:7070", "comics", "http://127.0.0.1:7070/comics/a/b.png"),
        ("us-east-1", "https://s3.example", "comics", "https://s3.example/comics/a/b.png"),
    ],
)
async def test_addresses_are_those_of_the_service(
    region: str, endpoint_url: str | None, bucket: str, expected: str
) -> None:
    assert await link_of(access(region, endpoint_url), "a/b.png", bucket=bucket) == [expected]


async def test_the_rules_for_a_buckets_address_are_worked_through_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluated: list[dict[str, object]] = []
    evaluate = RuleSet.evaluate

    def counted(self: RuleSet, parameters: dict[str, object]) -> object:
        evaluated.append(parameters)
        return evaluate(self, parameters)

    monkeypatch.setattr(RuleSet, "evaluate", counted)

    links = await link_of(access("eu-west-1"), "a.png", "b/c.png", "d ü.png")

    assert [link.rpartition(".com")[2] for link in links] == ["/a.png", "/b/c.png", "/d%20%C3%BC.png"]
    assert len(evaluated) == 1
