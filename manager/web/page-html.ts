/** The page as it is before its script has run. What an id here is for, `page/` says. */
export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Chassis</title>
<link rel="stylesheet" href="/style.css">
<script type="module" src="/main.js"></script>
</head>
<body>
<header>
<h1>Chassis</h1>
<p id="daemon"></p>
<p id="link" role="status">connecting…</p>
</header>
<p id="problem" role="alert" hidden></p>
<main id="all"><noscript>This page needs JavaScript.</noscript></main>
<section aria-labelledby="happened-title">
<h2 id="happened-title">What happens</h2>
<ol id="happened" aria-live="polite" aria-relevant="additions"></ol>
</section>
</body>
</html>
`;
