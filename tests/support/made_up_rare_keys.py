"""Made-up keys of services that are used less, passwords of programs, and settings of MCP servers.

Every key is put together when it is asked for, so that no scanner takes this file for a leak.
"""

import base64
import string

from made_up_keys import BASE62, BASE64, DASHED, HEX, made_up

LOWER = string.ascii_lowercase + string.digits
CAPITALS = string.ascii_uppercase + string.digits

# The beginning in two parts, the length of the rest and its letters
_PREFIXES = {
    "Linear": (("lin_", "api_"), 40, BASE62),
    "Shopify": (("shp", "at_"), 32, HEX),
    "Shopify shared": (("shp", "ss_"), 32, HEX),
    "Shopify custom app": (("shp", "ca_"), 32, HEX),
    "Square": (("EAA", "AE"), 59, DASHED[:-2] + "_"),
    "Square application": (("sq0", "atp-"), 22, BASE62),
    "Square secret": (("sq0", "csp-"), 43, BASE62),
    "Doppler": (("dp.", "pt."), 43, BASE62),
    "Doppler service": (("dp.", "st.dev."), 43, BASE62),
    "New Relic": (("NR", "AK-"), 27, CAPITALS),
    "Grafana Cloud": (("gl", "c_eyJ"), 80, BASE64),
    "Neon": (("na", "pi_"), 64, LOWER),
    "Facebook": (("EAACEd", "Eose0cBA"), 60, BASE62),
    "Heroku": (("HRKU", "-AA"), 58, BASE62),
    "Bedrock": (("AB", "SK"), 128, BASE62),
    "Google refresh token": (("1/", "/0"), 99, DASHED),
    "Brave": (("BS", "A"), 28, BASE62),
    "Dropbox": (("sl", "."), 130, DASHED),
    "Contentful": (("CF", "PAT-"), 43, BASE62),
    "Notion old": (("sec", "ret_"), 43, BASE62),
    "OpenAI session": (("se", "ss-"), 40, BASE62),
    "PostHog": (("ph", "x_"), 43, BASE62),
    "Pulumi": (("pu", "l-"), 40, HEX),
}


def rare_tokens() -> dict[str, tuple[str, str]]:
    """Return keys that no name explains, and passwords of programs: the key, the text with `{}`."""
    fixed = {
        kind: ("".join(start) + made_up(kind, length, letters), 'client = connect("{}")')
        for kind, (start, length, letters) in _PREFIXES.items()
    }
    uuid = "-".join(
        made_up(f"deepl{size}{n}", size, HEX) for n, size in enumerate((8, 4, 4, 4, 12))
    )
    brevo = "xkey" + "sib-" + made_up("brevo", 64, HEX) + "-" + made_up("brevo2", 16)
    mapbox = "sk." + "eyJ" + made_up("mapbox", 60) + "." + made_up("mapbox2", 22)
    password = "Tr0ub4dor" + "&3xyz"
    return {
        **fixed,
        "Terraform": (
            made_up("terraform", 14) + ".atlas" + "v1." + made_up("terraform2", 67),
            "connect('{}')",
        ),
        "Brevo": (brevo, "connect('{}')"),
        "Mapbox": (mapbox, "connect('{}')"),
        "DeepL": (uuid + ":fx", "connect('{}')"),
        "Zhipu": (made_up("zhipu", 32, HEX) + "." + made_up("zhipu2", 16), "connect('{}')"),
        "Docker login elsewhere": (
            base64.b64encode(b"ada:hackers-win-26").decode(),
            '{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}',
        ),
        "curl": (made_up("curl", 12), "curl -s -u ada:{} https://example.org/api"),
        "curl in quotes": (made_up("curl2", 12), "curl --user 'ada:{}' https://example.org/api"),
        "Go database": (
            made_up("go", 12),
            'sql.Open("mysql", "root:{}@tcp(db.example.net:3306)/app")',
        ),
        "ODBC": (
            made_up("odbc", 12),
            '"Driver={{ODBC Driver 18}};Server=db.example.net;Uid=ada;Pwd={};"',
        ),
        "ADO": (made_up("ado", 12), '"Server=db.example.net;User Id=ada;Password={};"'),
        "password in YAML": (password, "    POSTGRES_PASSWORD: {}"),
        "password in quotes": (password, "ENV MYSQL_ROOT_PASSWORD='{}'"),
    }


def mcp_settings() -> dict[str, tuple[str, str, str]]:
    """Return settings of MCP servers and of tools: the path, the secret, the text with `{}`."""
    server = '{{"mcpServers": {{"web": {{%s}}}}}}'
    env = '"command": "npx", "env": {{\n"REGION": "eu-west-1",\n"%s": "{}"}}'
    parts = {
        **{
            f"MCP variable {name}": (made_up(name, 20), env % name)
            for name in ("PAT", "AZURE_DEVOPS_PAT", "LINKEDIN_COOKIE", "BRAVE_API", "LOGIN")
        },
        "MCP raw header": (made_up("mrh", 24), '"headers": {{"Authorization": "{}"}}'),
        "MCP token header": (made_up("mth", 24), '"headers": {{"Authorization": "Token {}"}}'),
        "MCP own header": (made_up("moh", 24), '"headers": {{"X-Access": "{}"}}'),
        "MCP header argument": (
            made_up("mha", 32, HEX),
            '"args": ["-y", "mcp-remote", "--header", "Authorization: Token {}"]',
        ),
        "MCP argument on two lines": (
            made_up("mal", 20),
            '"args": [\n          "--api-key",\n                    "{}"\n]',
        ),
        "MCP parameter": (made_up("mpa", 20), '"url": "https://example.org/sse?k={}"'),
        "MCP second parameter": (made_up("mp2", 20), '"url": "https://example.org/sse?a=1&t={}"'),
        "MCP path": (
            base64.b64encode(made_up("path", 40).encode()).decode(),
            '"url": "https://mcp.example.org/api/mcp/s/{}/mcp"',
        ),
    }
    plain = {
        "PAT in a .env": (made_up("pat", 20), "AZURE_DEVOPS_PAT={}\n"),
        "cookie in a .env": (made_up("cookie", 20), "SITE_COOKIE={}\n"),
        "API in a .env": (made_up("api", 20), "BRAVE_API={}\n"),
    }
    return {
        **{kind: ("mcp.json", secret, server % text) for kind, (secret, text) in parts.items()},
        **{kind: ("prod.env", secret, text) for kind, (secret, text) in plain.items()},
        "Claude settings": (
            ".claude/settings.local.json",
            made_up("cs", 20),
            '{{"env": {{"MY_LOGIN": "{}"}}}}',
        ),
    }
