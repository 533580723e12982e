"""Made-up keys of the services and tools that hackathon teams use, by kind.

Every key is put together when it is asked for, so that no scanner takes this file for a leak.
"""

import base64
import json
import random
import string

HEX = "0123456789abcdef"
BASE62 = string.ascii_letters + string.digits
BASE64 = BASE62 + "+/"
UPPER = string.ascii_uppercase + "234567"
DASHED = BASE62 + "-_"
# Parts of an address, apart for the same reason
_SLACK_HOOK = "https://hooks.{}/services/T0".format("slack.com")
_DISCORD_HOOK = "https://{}/api/webhooks/".format("discord.com")


def made_up(kind: str, length: int, letters: str = BASE62) -> str:
    """Return a random text, always the same for a kind, with a digit."""
    chance = random.Random(kind)  # noqa: S311 - no secret at all
    text = "".join(chance.choices(letters, k=length))
    return text if any(each.isdigit() for each in text) else f"{text[:-2]}42"


def tokens() -> dict[str, tuple[str, str]]:
    """Return texts of one line, each with its key: by kind, the key and the text with `{}`."""

    def new(kind: str, prefix: str, length: int, letters: str = BASE62) -> str:
        return prefix + made_up(kind, length, letters)

    jwt = ".".join(
        base64.urlsafe_b64encode(part.encode()).decode().rstrip("=")
        for part in ('{"alg":"HS256","typ":"JWT"}', '{"role":"service_role","iss":"supabase"}')
    )
    return {
        "Mistral": (new("mi", "", 32), 'client = Mistral(api_key="{}")'),
        "Mistral in the environment": (new("me", "", 32), "os.environ['MISTRAL_API_KEY'] = '{}'"),
        "bearer": (new("be", "", 40), 'curl -H "Authorization: Bearer {}" https://example.org'),
        "Hugging Face": (new("hf", "h" + "f_", 34), 'login("{}")'),
        "GitHub classic": (new("gh", "gh" + "p_", 36), "git clone https://{}@github.com/a/b"),
        "GitHub fine-grained": (
            new("gf", "github" + "_pat_", 22) + "_" + made_up("gf2", 59),
            "TOKEN = '{}'",
        ),
        "GitHub app": (new("ga", "gh" + "s_", 36), "token: {}"),
        "GitLab": (new("gl", "gl" + "pat-", 20, DASHED), "GITLAB={}"),
        "OpenAI old": (
            new("oo", "s" + "k-", 20) + "T3Blbk" + "FJ" + made_up("oo2", 20),
            'openai.api_key = "{}"',
        ),
        "OpenAI project": (new("op", "sk-" + "proj-", 120, DASHED), "client = OpenAI({!r})"),
        "Anthropic": (new("an", "sk-" + "ant-api03-", 95, DASHED), "key: {}"),
        "OpenRouter": (new("or", "sk-" + "or-v1-", 64, HEX), "// {}"),
        "Groq": (new("gq", "gs" + "k_", 52), "Groq('{}')"),
        "xAI": (new("xa", "xa" + "i-", 80), "grok {}"),
        "Tavily": (new("ta", "tv" + "ly-dev-", 32), "TavilySearch('{}')"),
        "Pinecone": (new("pi", "pc" + "sk_", 6) + "_" + made_up("pi2", 63), "Pinecone('{}')"),
        "LangSmith": (
            new("ls", "ls" + "v2_pt_", 32, HEX) + "_" + made_up("ls2", 10, HEX),
            "tracing: {}",
        ),
        "W&B": (new("wb", "", 40, HEX), "wandb login {}"),
        "Replicate": (new("re", "r" + "8_", 37), "replicate '{}'"),
        "ElevenLabs": (new("el", "s" + "k_", 48, HEX), "voice = '{}'"),
        "ElevenLabs old": (new("eo", "", 32, HEX), "headers = {{'xi-api-key': '{}'}}"),
        "Cohere": (new("co", "", 40), 'co = cohere.Client("{}")'),
        "SendGrid": (
            new("sg", "S" + "G.", 22, DASHED) + "." + made_up("sg2", 43, DASHED),
            "mail '{}'",
        ),
        "AWS key": (new("ak", "AK" + "IA", 16, UPPER), "aws configure set x {}"),
        "AWS secret": (new("as", "", 40, BASE64), "aws_secret_access_key = {}"),
        "Google API": (new("go", "AI" + "za", 35, DASHED), "const g = '{}'"),
        "Google OAuth": (new("gx", "GOC" + "SPX-", 28, DASHED), "google: '{}'"),
        "Slack bot": (
            "xo" + "xb-" + made_up("sl", 12, string.digits) + "-" + made_up("sl2", 24),
            "slack = '{}'",
        ),
        "Slack app": (
            "xa" + "pp-1-A" + made_up("sp", 10) + "-4242424242-" + made_up("s2", 64, HEX),
            "app = '{}'",
        ),
        "Slack webhook": (
            _SLACK_HOOK
            + made_up("sw", 9, UPPER)
            + "/B0"
            + made_up("sw2", 9, UPPER)
            + "/"
            + made_up("sw3", 24),
            "post('{}')",
        ),
        "Stripe": (new("st", "s" + "k_live_", 24), "stripe = '{}'"),
        "Stripe webhook": (new("sk", "wh" + "sec_", 32), "hook = '{}'"),
        "Twilio key": (new("tw", "S" + "K", 32, HEX), "sid = '{}'"),
        "Twilio token": (new("tt", "", 32, HEX), "TWILIO_AUTH_TOKEN={}"),
        "Discord bot": (
            new("di", "MT", 24) + "." + made_up("di2", 6) + "." + made_up("di3", 38, DASHED),
            "bot.run('{}')",
        ),
        "Discord webhook": (
            _DISCORD_HOOK + made_up("dw", 18, string.digits) + "/" + made_up("dw2", 68, DASHED),
            "hook = '{}'",
        ),
        "Telegram": (
            made_up("te", 10, "123456789") + ":AA" + made_up("te2", 33, DASHED),
            "Bot('{}')",
        ),
        "PostgreSQL": (
            made_up("pg", 16),
            "postgresql" + "://hack:{}@ep-cool-1.eu-central-1.aws.neon.tech/main",
        ),
        "MongoDB": (made_up("mo", 14), "mongodb" + "+srv://hack:{}@cluster0.ab1cd.mongodb.net"),
        "Redis": (made_up("rd", 32), "rediss" + "://default:{}@eu1-cat-1234.upstash.io:6379"),
        "MySQL": (made_up("my", 18), "mysql" + "+pymysql://root:{}@db.hack.internal:3306/app"),
        "service JWT": (f"{jwt}.{made_up('jw', 43, DASHED)}", "SUPABASE={}"),
        "Supabase": (new("su", "sb" + "_secret_", 31, DASHED), "supabase: {}"),
        "Azure OpenAI": (new("ao", "", 32, HEX), 'AzureKeyCredential("{}")'),
        "Azure OpenAI new": (
            made_up("an", 52) + "JQ" + "QJ99BKACYeBjFXJ3w3AAABACOG" + made_up("an2", 4),
            "azure = '{}'",
        ),
        "Azure storage": (
            new("az", "", 86, BASE64) + "==",
            "DefaultEndpointsProtocol=https;AccountName=hack;AccountKey={}",
        ),
        "Azure bus": (
            new("ab", "", 43, BASE64) + "=",
            "Endpoint=sb://h.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey={}",
        ),
        "Azure client": (
            new("ac", "", 3) + "8Q" + "~" + made_up("ac2", 34, DASHED),
            "tenant = '{}'",
        ),
        "Render": (new("rn", "rn" + "d_", 32), "render: {}"),
        "Fly": (new("fl", "Fly" + "V1 fm2_", 120, BASE64), "deploy with {}"),
        "npm": (new("np", "np" + "m_", 36), "publish {}"),
        "PyPI": (new("py", "pypi-" + "AgEIcHlwaS5vcmc", 80, DASHED), "twine -p {}"),
        "Docker Hub": (new("dh", "dckr" + "_pat_", 27, DASHED), "docker login -p {}"),
        "unknown service": (new("un", "", 36), 'WEATHER_API_KEY = "{}"'),
        "unknown secret": (new("us", "", 50, DASHED), "jwt_secret: '{}'"),
    }


def _key_block(title: str, kind: str) -> str:
    dashes = "-" * 5
    lines = "\n".join(made_up(f"{kind}{n}", 64, BASE64) for n in range(6))
    return f"{dashes}BEGIN {title}{dashes}\n{lines}\n{dashes}END {title}{dashes}\n"


def config_files() -> dict[str, tuple[str, str, str]]:
    """Return files of known tools: by kind, the path, the secret, and the text with `{}`."""
    pem = base64.b64encode(_key_block("RSA PRIVATE " + "KEY", "kc").encode()).decode()
    return {
        ".npmrc": (".npmrc", made_up("nr", 36), "//registry.example.org/:_authToken={}\n"),
        ".pypirc": (".pypirc", "hackers" + "-win-26", "[pypi]\nusername: ada\npassword: {}\n"),
        ".netrc": (
            ".netrc",
            "hackers" + "-win-26",
            "machine api.example.org\nlogin ada\npassword {}\n",
        ),
        "kubeconfig": (
            "kubeconfig.yml",
            pem,
            "users:\n- name: ada\n  user:\n    client-key-data: {}\n",
        ),
        "Docker login": (
            ".docker/config.json",
            base64.b64encode(b"ada:hackers-win-26").decode(),
            '{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}\n',
        ),
        "prod.env": ("prod.env", "hackers" + "-win-26", "DEBUG=0\nexport DB_PASSWORD='{}'\n"),
        "staging.env": ("config/staging.env", "Zx81" + "spectrum", "SESSION_SECRET={}\n"),
        "Streamlit secrets": (
            ".streamlit/secrets.toml",
            "Zx81" + "spectrum",
            'db_password = "{}"\n',
        ),
        "MCP env": (
            "mcp.json",
            "hackers" + "-win-26",
            '{{"mcpServers": {{"web": {{"command": "npx", "env": {{"SEARCH_KEY": "{}"}}}}}}}}',
        ),
        "MCP header": (
            "mcp.json",
            made_up("mh", 24),
            '{{"mcpServers": {{"web": {{\n"headers": {{"X-API-Key": "{}"}}}}}}}}',
        ),
        "MCP argument": (
            "mcp.json",
            made_up("ma", 22),
            '{{"mcpServers": {{"web": {{\n"args": ["-y", "a-server", "--api-key", "{}"]}}}}}}',
        ),
        "MCP address": (
            "mcp.json",
            made_up("mu", 22),
            '{{"mcpServers": {{"web": {{"url": "https://example.org/mcp?apiKey={}"}}}}}}',
        ),
    }


def private_keys() -> dict[str, tuple[str, str]]:
    putty = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"
    putty += f"Private-Lines: 1\n{made_up('pu', 48, BASE64)}\n"
    block = _key_block("PRIVATE " + "KEY", "ga")
    account = json.dumps({"type": "service_account", "private_key": block})
    return {
        "RSA key": ("id_rsa", _key_block("RSA PRIVATE " + "KEY", "rs")),
        "OpenSSH key": ("deploy_key", _key_block("OPENSSH PRIVATE " + "KEY", "os")),
        "PGP key": ("team.asc", _key_block("PGP PRIVATE " + "KEY BLOCK", "pg")),
        "PuTTY key": ("team.ppk", putty),
        "Google service account": ("account.json", account),
        "age key": ("age.txt", "AGE-SECRET-" + "KEY-1" + made_up("ag", 58, UPPER) + "\n"),
    }
