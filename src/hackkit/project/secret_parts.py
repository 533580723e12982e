"""Parts of secret_rules.py: beginnings of keys, names of services, values, the file of hooks."""

# Keys that begin with their maker's letters: the keywords and the pattern of each.
PREFIXES = {
    "sk- pk- rk- sk_ pk_ rk_ tvly- sb_secret_": (  # OpenAI, Anthropic, Stripe, Tavily, Supabase
        r"(?:(?:sk|pk|rk)[-_]|tvly-|sb_secret_)(?=[\w-]{0,60}\d)[\w-]{20,}"
    ),
    "glpat- gldt- glptt- gloas-": r"gl(?:pat|dt|ptt|oas)-[\w-]{20,}",  # GitLab
    "gsk_ xai- csk- pplx- jina_ ntn_": r"(?:gsk_|xai-|csk-|pplx-|jina_|ntn_)[A-Za-z0-9]{40,}",
    "nvapi- tgp_v1_ figd_ pa-": r"(?:nvapi-|tgp_v1_|figd_|pa-(?=[\w-]{0,40}\d))[\w-]{40,}",
    "pcsk_ wandb_v1_": r"(?:pcsk_|wandb_v1_)\w{40,}",
    "lsv2_": r"lsv2_(?:pt|sk)_[0-9a-f]{32}\w*",  # LangSmith
    "r8_ rnd_ whsec_ nfp_": r"(?:r8_|rnd_|whsec_|nfp_)(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{24,}",
    "fw_ ak- as-": r"(?:fw_|a[ks]-)(?=[A-Za-z]{0,22}\d)[A-Za-z0-9]{22,}",  # Fireworks, Modal
    "fo1_ fm1 fm2": r"(?:fo1_|fm[12][ar]?_)[\w+/=-]{40,}",  # Fly
    "sk dapi fc- key- kgat_ sbp_ e2b_ dop_v1_": (  # Twilio, Databricks, Firecrawl, Mailgun
        r"(?:SK|dapi|fc-|key-|KGAT_|sbp_|e2b_|dop_v1_)[0-9a-f]{32,64}"
    ),
    "sg.": r"SG\.[\w-]{16,32}\.[\w-]{30,}",  # SendGrid
    "pat": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",  # Airtable
    "atatt3 hvs. glsa_ sntr pscale_": r"(?:ATATT3|hvs\.|glsa_|sntr|pscale_)[\w=+/.-]{30,}",
    "-us": r"[0-9a-f]{32}-us\d{1,2}\b",  # Mailchimp
    "age-secret-key-1": r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
}
# The same, of services that are used less: a text without their keywords is skipped more often.
RARE_PREFIXES = {
    "lin_api_ lin_oauth_": r"lin_(?:api|oauth)_[A-Za-z0-9]{40,}",
    "shpat_ shpss_ shpca_ shppa_": r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}",
    "eaaae sq0": r"(?<![+/])EAAAE[\w-]{59}(?![\w+/=])|sq0(?:at|cs)p-[\w-]{22,}",  # Square
    "dp.": r"dp\.(?:pt|st|ct|sa)\.(?:[\w-]{2,35}\.)?[A-Za-z0-9]{40,}",  # Doppler
    "nrak- hrku-aa cfpat-": r"NRAK-[A-Z0-9]{27}|(?:HRKU-AA|CFPAT-)[\w-]{40,}",
    "glc_eyj sk.eyj": r"glc_eyJ[\w+/=]{30,}|sk\.eyJ[\w-]{20,}\.[\w-]{16,}",  # Grafana, Mapbox
    "napi_ phx_ sess- secret_": (  # Neon, PostHog, OpenAI, Notion
        r"(?:napi_|phx_|sess-|secret_)(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{40,}"
    ),
    "eaacedeose0cba absk": r"(?:EAACEdEose0cBA|(?<![+/])ABSK(?=\w{90}))[\w+/=]{20,}",
    "bsa": r"(?<![+/])BSA(?=[A-Za-z_-]{0,25}\d)[\w-]{28}(?![\w+/=-])",  # Brave
    "sl. .atlasv1.": r"sl\.[\w.-]{100,}|\w{14}\.atlasv1\.[\w=-]{60,}",  # Dropbox, Terraform
    "xkeysib- xsmtpsib- pul-": r"(?:x(?:key|smtp)sib-|pul-)[0-9a-f]{40,}",  # Brevo, Pulumi
    ":fx": r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}:fx\b",  # DeepL
}

SERVICES = (
    r"wandb|cohere|azure|twilio|pinecone|together|deepgram|assemblyai|elevenlabs|serper|serpapi"
    r"|cloudflare|heroku|vercel|kaggle|algolia|datadog"
)
# What follows the name of a secret, as in `api_key: str = "…"`, `"api_key", "…"` or `key=…`.
IS = r"[\\\x22'\])]{0,4}\s{0,4}(?::\s?\w{1,20}\s?=|:=|=>|[:=,])\s{0,4}[\\\x22'`]{0,3}"
# A password with a digit and a capital or a sign: no placeholder, no call, no name of a variable.
REAL = (
    r"(?!(?i:\w{0,3}pass|secret|change|example|your|user|test|dummy|xxx))"
    r"(?=[^\s0-9\x22'`;(]{0,60}[0-9])(?=[^\sa-z\x22'`;(]{0,60}[a-z])"
    r"(?=[^\sA-Z\x22'`;(!&%+=?*^~-]{0,60}[A-Z!&%+=?*^~-])"
)
# Mixed letters and digits: no word, no name of a variable.
MIXED = (
    r"(?=(?:[A-Za-z_+/=~-]{0,60}[0-9]){3})(?=[\w+/=~-]{0,90}?[A-Za-z][0-9]{1,12}[A-Za-z])"
    r"(?![\w+/=~-]{0,90}(?:your|example|placeholder|dummy|replace|insert|change|xxxx))"
)
# A file of settings: the value of every name like API_KEY in it is a secret.
SETTINGS_FILE = (
    r"(?i)(?:^|/)(?!.*(?:example|sample|template|\.dist$|\.lock$))(?:[^/]*\.env|\.env\.[^/]+|\.envrc"
    r"|env\.(?:prod|dev|local|stag|test)\w*|[^/]*mcp[^/]*\.json|claude_desktop_config\.json|\.(?:claude|gemini)/settings[^/]*\.json"
    r"|secrets?\.(?:toml|ya?ml|json|ini)|[^/]*credentials|\.npmrc|\.pypirc|[._]netrc|\.s3cfg"
    r"|kubeconfig[^/]*|\.kube/config|\.docker/config\.json|\.dockercfg)$"
)

HOOK = """\
# Stops a commit that contains an API key or a token. Installed by: uv run pre-commit install
repos:
  - repo: local
    hooks:
      - id: no-secret
        name: no API key, no token
        language: pygrep
        types: [text]
        # A Mistral key is 32 letters and digits near the words "mistral" or "api key", on the same
        # line or one of the next two: in Python, YAML, a notebook, a .env file.
        args: [--multiline]
        entry: >-
          (?x)
{rules}
      - id: no-secret-in-settings
        name: no secret in a file of settings
        language: pygrep
        # prod.env, mcp.json, .npmrc and others, where a name says that a value is secret
        files: {files}
        args: [--multiline]
        entry: >-
          {named}
"""
