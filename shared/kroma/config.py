"""Settings, read once from the environment by an entry point and passed down."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import msgspec

from kroma.addresses import check_database_url, check_http_url, check_redis_url, is_port
from kroma.allow_list import AllowList
from kroma.browsers import listed_origins
from kroma.environment import Environment, SettingsError, expanded

_DEFAULT_BIND = "127.0.0.1:8788"
_LOOPBACK = "127.0.0.1"
LOG_LEVELS = ("debug", "info", "warning", "error")
DEFAULT_KEY_REF = "local-master"
_REALESRGAN = "tools/realesrgan/realesrgan-ncnn-vulkan"
_REALESRGAN_MODELS = "tools/realesrgan/models"
_CALLBACK_KEY_CHARACTERS = 32
_S3_PREFIX = "iat-projects"
_REGION = re.compile(r"(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def default_data_dir() -> Path:
    """``/var/lib/kroma`` for root, the user's own share directory otherwise.

    Raises:
        SettingsError: The user has no home.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/kroma")
    try:
        return Path.home() / ".local" / "share" / "kroma"
    except RuntimeError as exc:
        raise SettingsError("KROMA_DATA_DIR must be set, since this user has no home directory") from exc


class Bind(msgspec.Struct, frozen=True):
    """An address to listen on; port 0 asks for a free one."""

    host: str
    port: int

    @classmethod
    def parsed(cls, text: str, *, variable: str = "KROMA_BACKEND_BIND", example: str = _DEFAULT_BIND) -> Self:
        """Read ``ip:port``; a host name does not parse (contract 1.1).

        Raises:
            SettingsError: The text is not an IP address and a port.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is None or not is_port(port):
            raise SettingsError(f"{variable} must be ip:port, such as {example}")
        return cls(host=str(address), port=int(port))

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def address(self) -> str:
        """``ip:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


class MetricsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service shows its metrics and its health (docs/operations.md)."""

    variable: str
    """That chooses the address."""
    bind: Bind
    is_given: bool = False
    """Else a free port is taken where another program has the default one."""
    is_off: bool = False

    @classmethod
    def from_environment(cls, env: Environment, *names: str, default: Bind) -> Self:
        """Read the first of the variables ``KROMA_<name>`` that is set; ``off`` shows nothing.

        Raises:
            SettingsError: It is no address.
        """
        name = next((name for name in names if env.text(name) is not None), names[-1])
        variable, text = f"KROMA_{name}", env.text(name)
        if text is None:
            return cls(variable=variable, bind=default)
        if text.lower() == "off":
            return cls(variable=variable, bind=default, is_off=True)
        bind = Bind.parsed(text, variable=variable, example=f"{default.address}, or off")
        return cls(variable=variable, bind=bind, is_given=True)


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the services say of their work, and how."""

    level: str = "info"
    format: str = "json"
    """``json``, a line for each event, or ``console`` for eyes."""

    @classmethod
    def from_environment(cls, env: Environment) -> Self:
        """Read ``KROMA_LOG_LEVEL`` and ``KROMA_LOG_FORMAT``.

        Raises:
            SettingsError: There is no such level or format.
        """
        return cls(
            level=env.choice("LOG_LEVEL", LOG_LEVELS, default="info"),
            format=env.choice("LOG_FORMAT", ("json", "console"), default="json"),
        )


class AgentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How confirmed instructions reach the external agent (contract 3.18)."""

    url: str | None
    """For all projects; None takes each project's secret ``agent_api``/``url``."""
    token: str | None
    """Sent to ``url`` only, never to an address that a project chose."""
    max_locked: timedelta
    """A lease at least; longer when an attempt may take longer."""
    max_attempts: int
    """An instruction's own number counts when it is larger."""
    retry_backoff: timedelta
    """Times the attempt's number: the wait before the next attempt."""
    timeout: timedelta
    """One try, from the name's resolution to the last byte."""
    retries: int
    """Further tries inside one attempt."""
    retry_pause: timedelta
    """Times the try's number: the wait before the next try."""
    deadline: timedelta
    """How long an agent may take that has accepted an instruction."""

    @classmethod
    def from_environment(cls, env: Environment) -> Self:
        """Read ``KROMA_AGENT_*``.

        Raises:
            SettingsError: A variable has a value that cannot be meant.
        """
        url = env.text("AGENT_API_URL")
        if url is not None:
            check_http_url("KROMA_AGENT_API_URL", url)
        return cls(
            url=url,
            token=env.text("AGENT_API_TOKEN"),
            max_locked=env.seconds("AGENT_MAX_LOCKED_S", default=120, minimum=1),
            max_attempts=env.count("AGENT_MAX_ATTEMPTS", default=3),
            retry_backoff=env.seconds("AGENT_RETRY_BACKOFF_S", default=10, minimum=1),
            timeout=env.seconds("AGENT_TIMEOUT_S", default=20, minimum=0.1),
            retries=env.count("AGENT_RETRIES", default=2, minimum=0),
            retry_pause=env.seconds("AGENT_RETRY_PAUSE_S", default=1.5, minimum=0.1),
            deadline=env.seconds("AGENT_DEADLINE_S", default=3600, minimum=1),
        )


class MasterKeyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key of stored secrets comes from (contract 3.19); its representation shows no key."""

    text: str | None
    """Padded base64url of 32 bytes; None takes ``file``."""
    file: Path
    """Made with a new key when the first secret is stored."""
    is_file_given: bool = False
    """Whether somebody chose the file; otherwise each machine has one of its own."""
    ref: str
    """Stands beside each value as the name of the key that sealed it."""
    previous: tuple[str, ...]
    """Keys that still open values, in the form of ``text``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(file={str(self.file)!r}, ref={self.ref!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("file", self.file), ("ref", self.ref)]

    @classmethod
    def from_environment(cls, env: Environment, *, data_dir: Path) -> Self:
        """Read ``KROMA_MASTER_KEY*``; a relative file is below ``data_dir``.

        Raises:
            SettingsError: The file is in a home that is nobody's.
        """
        file = env.path("MASTER_KEY_FILE") or Path("var/backend/master.key")
        return cls(
            text=env.text("MASTER_KEY", from_file=False),  # its _FILE has been the key's own place before
            file=data_dir / file,
            is_file_given=env.text("MASTER_KEY_FILE", from_file=False) is not None,
            ref=env.text("MASTER_KEY_REF") or DEFAULT_KEY_REF,
            previous=env.texts("MASTER_KEY_PREVIOUS"),
        )


class ProviderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How hard a provider that costs money may be asked, by all workers together."""

    concurrency: int = 16
    """Calls under way at a time, of all projects."""
    requests_per_minute: int | None = None
    """Evenly spaced; None is unlimited."""
    retries: int = 4
    """Further calls for a candidate after clean refusals."""

    @classmethod
    def from_environment(cls, env: Environment) -> Self:
        """Read ``KROMA_PROVIDER_CONCURRENCY``, ``_RPM`` and ``_RETRIES``.

        Raises:
            SettingsError: A variable is no such number.
        """
        paced = env.text("PROVIDER_RPM") is not None
        return cls(
            concurrency=env.count("PROVIDER_CONCURRENCY", default=16),
            requests_per_minute=env.count("PROVIDER_RPM", default=1, maximum=1_000_000) if paced else None,
            retries=env.count("PROVIDER_RETRIES", default=4, minimum=0),
        )


class OpenAIOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What OpenAI is asked for (pipeline.md 5.1); its representation shows no key."""

    api_key: str | None = None
    """For projects without a key of their own."""
    model: str = "gpt-image-1"
    size: str = "1024x1536"
    quality: str = "high"
    connect_timeout: timedelta = timedelta(seconds=30)
    timeout: timedelta = timedelta(seconds=180)
    """The whole call, and each of its phases after the connection."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, size={self.size!r}, quality={self.quality!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("model", self.model), ("size", self.size), ("quality", self.quality)]

    @classmethod
    def from_environment(cls, env: Environment) -> Self:
        """Read ``KROMA_OPENAI_*``, and the original's ``OPENAI_*``.

        Raises:
            SettingsError: A time is no such span.
        """
        return cls(
            api_key=env.shared_text("OPENAI_API_KEY"),
            model=env.shared_text("OPENAI_IMAGE_MODEL") or "gpt-image-1",
            size=env.shared_text("OPENAI_IMAGE_SIZE") or "1024x1536",
            quality=env.shared_text("OPENAI_IMAGE_QUALITY") or "high",
            connect_timeout=env.seconds("OPENAI_CONNECT_TIMEOUT_S", default=30, minimum=0.1),
            timeout=env.seconds("OPENAI_TIMEOUT_S", default=180, minimum=0.1),
        )


class FaceModel(msgspec.Struct, frozen=True, kw_only=True):
    """A face embedding model that the operator supplies (docs/quality.md)."""

    path: str
    """Of an ONNX file, on every worker."""
    sha256: str
    """In hex; another file under the path is refused."""
    input_px: int = 112
    """Side of the square it takes."""

    @classmethod
    def from_environment(cls, env: Environment) -> Self | None:
        """Read ``KROMA_FACE_MODEL``, ``_SHA256`` and ``_PX``; None without the first.

        Raises:
            SettingsError: The checksum is missing or none, or the side is no number.
        """
        path, sha256 = env.text("FACE_MODEL"), env.text("FACE_MODEL_SHA256")
        if path is None:
            return None
        if sha256 is None or re.fullmatch("[0-9a-fA-F]{64}", sha256) is None:
            raise SettingsError(
                "KROMA_FACE_MODEL_SHA256 must be the SHA-256 of KROMA_FACE_MODEL, as 64 hexadecimal digits"
            )
        return cls(path=path, sha256=sha256.lower(), input_px=env.count("FACE_MODEL_PX", default=112))


class ToolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's tools of post-processing (docs/postprocessing.md); its representation shows no key.

    They are named here alone and never by a file that a project can choose: whoever names a program has
    it run, and whoever names an address is sent the key.
    """

    realesrgan: Path = Path(_REALESRGAN)
    realesrgan_models: Path = Path(_REALESRGAN_MODELS)
    rembg: str = "rembg"
    """A path, or a name to look up."""
    command_timeout: timedelta = timedelta(seconds=300)
    """Of one program."""
    service_timeout: timedelta = timedelta(seconds=60)
    """Of one call to a background service."""
    photoroom_key: str | None = None
    """For projects without a key of their own, like the next."""
    removebg_key: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(realesrgan={str(self.realesrgan)!r}, rembg={self.rembg!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("realesrgan", self.realesrgan), ("rembg", self.rembg)]

    @classmethod
    def from_environment(cls, env: Environment, *, data_dir: Path) -> Self:
        """Read them; relative paths are below ``data_dir``.

        Raises:
            SettingsError: A time is no such span, or a path is in a home that is nobody's.
        """
        return cls(
            realesrgan=data_dir / (env.path("REALESRGAN_BIN") or _REALESRGAN),
            realesrgan_models=data_dir / (env.path("REALESRGAN_MODELS") or _REALESRGAN_MODELS),
            rembg=env.text("REMBG_BIN") or "rembg",
            command_timeout=env.seconds("COMMAND_TIMEOUT_SECONDS", default=300, minimum=0.1),
            service_timeout=env.seconds("BACKGROUND_TIMEOUT_S", default=60, minimum=0.1),
            photoroom_key=env.shared_text("PHOTOROOM_API_KEY"),
            removebg_key=env.shared_text("REMOVE_BG_API_KEY"),
        )


class S3Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where an S3 service is and who asks; its representation shows no key.

    What is None comes from ``AWS_*``, the profile, or the role of the machine.
    """

    endpoint_url: str | None = None
    """None is AWS itself; anything else is asked with the bucket in the path."""
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint_url={self.endpoint_url!r}, region={self.region!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("endpoint_url", self.endpoint_url), ("region", self.region), ("profile", self.profile)]


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where projects' files are kept (docs/storage.md); all but ``kind`` concerns a bucket."""

    kind: str = "directory"
    """``directory``, below the data directory, or ``s3``: hosted, where no machine's disk is shared."""
    bucket: str = ""
    prefix: str = _S3_PREFIX
    """Without slashes around it; projects are below."""
    access: S3Access = S3Access()

    @property
    def is_hosted(self) -> bool:
        """Whether everything that is worth keeping lies in a bucket and in the database."""
        return self.kind == "s3"

    @classmethod
    def from_environment(cls, env: Environment) -> Self:
        """Read ``KROMA_STORE``, and ``KROMA_S3_*`` where that is ``s3``.

        Raises:
            SettingsError: A variable has a value that cannot be meant, or one is missing beside another.
        """
        kind = env.choice("STORE", ("directory", "s3"), default="directory")
        if kind != "s3":
            return cls(kind=kind)
        key, secret = env.text("S3_ACCESS_KEY_ID"), env.text("S3_SECRET_ACCESS_KEY")
        for name, here, other in (("ACCESS_KEY_ID", key, secret), ("SECRET_ACCESS_KEY", secret, key)):
            if here is None and other is not None:
                raise SettingsError(
                    f"KROMA_S3_{name} must be set too, since the other half of the key is set"
                )
        return cls(
            kind=kind,
            bucket=_bucket_name(env),
            prefix=_bucket_prefix(env),
            access=S3Access(
                endpoint_url=_endpoint(env),
                region=_region(env),
                profile=env.text("S3_PROFILE"),
                access_key_id=key,
                secret_access_key=secret,
                session_token=env.text("S3_SESSION_TOKEN"),
            ),
        )


class SyncOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How projects are copied to buckets (docs/sync.md)."""

    concurrency: int = 32
    """Files under way at a time."""
    buckets: frozenset[str] | None = None
    """That the operator's own credentials are used for; None is any."""

    @classmethod
    def from_environment(cls, env: Environment, *, is_loopback: bool) -> Self:
        """Read ``KROMA_SYNC_*``; where others reach the API, no bucket is the operator's unless it is listed.

        Raises:
            SettingsError: The concurrency is no number.
        """
        listed = env.texts("SYNC_BUCKETS")
        return cls(
            concurrency=env.count("SYNC_CONCURRENCY", default=32, maximum=1024),
            buckets=None if is_loopback and not listed else frozenset(listed),
        )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an entry point decides from its environment."""

    data_dir: Path
    """Base of every relative path of the contract; pictures, token and logs live below it."""
    database_url: str | None
    """``postgresql://...``; None lets ``kroma up`` start a private server."""
    redis_url: str | None
    """``redis://...``; None lets ``kroma up`` start a private server."""
    bind: Bind
    auth_dev_bypass: bool
    """No authentication at all; only sensible on loopback."""
    auth_bootstrap_first_token: bool
    """Whether ``POST /auth/token`` is open while no active token exists."""
    allow_any_root: bool
    """Whether project roots and settings files may lie outside the data directory."""
    provider: str
    """Code of the provider that makes the pictures when nothing else names one."""
    provider_limits: ProviderLimits
    queue: str
    """``arq`` (over Redis) or ``postgres`` (no Redis needed)."""
    worker_jobs: int
    """Jobs one worker carries at a time."""
    lease: timedelta
    """How long a worker that says nothing more keeps its jobs; renewed three times within it."""
    worker_grace: timedelta
    """After SIGTERM, for what is nearly done; the rest goes back to the queue."""
    cpu_processes: int
    """Processes one worker uses for picture work."""
    events_heartbeat: timedelta
    """How long a stream of events may be silent before it says that it lives."""
    request_stall: timedelta
    """How long a caller may send nothing of a request that is not whole yet."""
    public_url: str
    """Where others reach the API, without a slash at the end."""
    cors_origins: frozenset[str]
    """Origins of other sites whose pages may read and change what their token opens."""
    url_allow: AllowList
    """Hosts and ranges that may be called for users although they are not public."""
    callback_key: str | None
    """Signs the addresses that agents report to; None keeps a key in the data directory, which API and
    workers must then share."""
    agent: AgentOptions
    master_key: MasterKeyOptions
    metrics: MetricsOptions
    """Of the API."""
    worker_metrics: MetricsOptions
    logs: LogOptions = LogOptions()
    openai: OpenAIOptions = OpenAIOptions()
    tools: ToolOptions = ToolOptions()
    store: StoreOptions = StoreOptions()
    sync: SyncOptions = SyncOptions()
    face_model: FaceModel | None = None
    """What the faces of characters are compared by; None says so in every report."""

    @classmethod
    def from_environment(
        cls, variables: Mapping[str, str] | None = None, *, data_dir: Path | None = None
    ) -> Self:
        """Read the settings; ``data_dir`` given by a caller beats the environment.

        Raises:
            SettingsError: A variable has a value that cannot be meant.
        """
        env = Environment(os.environ if variables is None else variables)
        bind = Bind.parsed(env.text("BACKEND_BIND") or _DEFAULT_BIND)
        chosen = env.path("DATA_DIR") if data_dir is None else expanded("--data-dir", data_dir)
        folder = (chosen or default_data_dir()).absolute()
        queue = env.text("QUEUE") or "arq"
        if queue not in {"arq", "postgres"}:
            raise SettingsError("KROMA_QUEUE must be one of: arq, postgres")
        bypass = env.flag("API_AUTH_DEV_BYPASS", default=False)
        if bypass and not bind.is_loopback:
            raise SettingsError(
                "KROMA_API_AUTH_DEV_BYPASS disables authentication, so KROMA_BACKEND_BIND must be "
                f"a loopback address, not {bind.address}"
            )
        return cls(
            data_dir=folder,
            database_url=_server_url(env, "DATABASE", check_database_url),
            redis_url=_server_url(env, "REDIS", check_redis_url),
            bind=bind,
            auth_dev_bypass=bypass,
            auth_bootstrap_first_token=env.flag("API_AUTH_BOOTSTRAP_FIRST_TOKEN", default=True),
            allow_any_root=env.flag("ALLOW_ANY_ROOT", default=bind.is_loopback),
            provider=env.text("PROVIDER") or "local",
            provider_limits=ProviderLimits.from_environment(env),
            queue=queue,
            worker_jobs=env.count("WORKER_JOBS", default=4),
            lease=env.seconds("LEASE_S", default=30, minimum=1),
            worker_grace=env.seconds("WORKER_GRACE_S", default=3, minimum=0),
            cpu_processes=env.count("CPU_PROCESSES", default=os.cpu_count() or 1, maximum=1024),
            events_heartbeat=env.seconds("EVENTS_HEARTBEAT_S", default=10, minimum=0.05),
            request_stall=env.seconds("REQUEST_STALL_S", default=20, minimum=0.1),
            public_url=_public_url(env, bind),
            cors_origins=listed_origins("KROMA_CORS_ORIGINS", env.texts("CORS_ORIGINS")),
            url_allow=AllowList.parsed(env.texts("URL_ALLOW")),
            callback_key=_callback_key(env),
            agent=AgentOptions.from_environment(env),
            master_key=MasterKeyOptions.from_environment(env, data_dir=folder),
            metrics=MetricsOptions.from_environment(env, "METRICS_BIND", default=Bind(_LOOPBACK, 8789)),
            worker_metrics=MetricsOptions.from_environment(
                env, "WORKER_METRICS_BIND", "METRICS_BIND", default=Bind(_LOOPBACK, 8790)
            ),
            logs=LogOptions.from_environment(env),
            openai=OpenAIOptions.from_environment(env),
            tools=ToolOptions.from_environment(env, data_dir=folder),
            store=StoreOptions.from_environment(env),
            sync=SyncOptions.from_environment(env, is_loopback=bind.is_loopback),
            face_model=FaceModel.from_environment(env),
        )

    def refuse_missing_files(self) -> None:
        """See that the files are there that a worker needs; the API opens none of them.

        Raises:
            SettingsError: One is not.
        """
        model = self.face_model
        if model is not None and not Path(model.path).is_file():
            raise SettingsError(f"KROMA_FACE_MODEL names {model.path!r}, which is not a file on this machine")

    def refuse_keys_of_one_machine(self) -> None:
        """Where no disk is shared, see that every machine has the keys that all need, not one of its own.

        Raises:
            SettingsError: A key would be kept in the data directory.
        """
        reason = "with KROMA_STORE=s3 machines share no disk, and all need the same key"
        if not self.store.is_hosted:
            return
        if self.callback_key is None:
            raise SettingsError(f"KROMA_CALLBACK_KEY must be set: {reason}")
        if self.master_key.text is None and not self.master_key.is_file_given:
            raise SettingsError(f"KROMA_MASTER_KEY must be set: {reason}")


def _bucket_name(env: Environment) -> str:
    name = env.text("S3_BUCKET")
    if name is None:
        raise SettingsError("KROMA_S3_BUCKET must be set, since KROMA_STORE=s3 keeps all files in it")
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,63}", name):
        raise SettingsError("KROMA_S3_BUCKET must be a bucket name: 3 to 63 letters, digits, '.', '-' or '_'")
    return name


def _bucket_prefix(env: Environment) -> str:
    prefix = (env.text("S3_PREFIX") or _S3_PREFIX).strip("/")
    if any(name in {"", ".", ".."} for name in prefix.split("/")):
        raise SettingsError(
            f"KROMA_S3_PREFIX must be folder names separated by slashes, such as {_S3_PREFIX}"
        )
    return prefix


def _endpoint(env: Environment) -> str | None:
    url = env.text("S3_ENDPOINT_URL")
    if url is not None:
        check_http_url("KROMA_S3_ENDPOINT_URL", url, may_ask=False)
    return url


def _region(env: Environment) -> str | None:
    region = env.text("S3_REGION")
    if region is not None and not _REGION.fullmatch(region):
        raise SettingsError("KROMA_S3_REGION must be the name of a region, such as eu-central-1")
    return region


def _server_url(env: Environment, name: str, check: Callable[[str, str], None]) -> str | None:
    url = env.server_url(name)
    if url is not None:
        check(f"KROMA_{name}_URL", url)
    return url


def _public_url(env: Environment, bind: Bind) -> str:
    url = env.text("PUBLIC_URL") or bind.url
    check_http_url("KROMA_PUBLIC_URL", url, may_ask=False)
    return url.rstrip("/")


def _callback_key(env: Environment) -> str | None:
    key = env.text("CALLBACK_KEY")
    if key is not None and len(key) < _CALLBACK_KEY_CHARACTERS:
        raise SettingsError(f"KROMA_CALLBACK_KEY must have at least {_CALLBACK_KEY_CHARACTERS} characters")
    return key
