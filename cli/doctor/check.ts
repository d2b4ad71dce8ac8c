/** What `chassis doctor` looks at. */
export interface Check {
  readonly name: string;
  /** A warning is about what some things need, a failure about what all or most do. */
  readonly status: 'ok' | 'warning' | 'failed';
  readonly found: string;
  /** What to do about it. */
  readonly cure?: string;
}

export function ok(name: string, found: string): Check {
  return { name, status: 'ok', found };
}

export function warning(name: string, found: string, cure: string): Check {
  return { name, status: 'warning', found, cure };
}

export function failed(name: string, found: string, cure: string): Check {
  return { name, status: 'failed', found, cure };
}

const WORDS = { ok: 'ok', warning: 'warning', failed: 'FAILED' } as const;

export function checksText(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks
    .flatMap(({ name, status, found, cure }) => [
      `${WORDS[status].padEnd(7)}  ${name.padEnd(width)}  ${found}`,
      ...(cure === undefined ? [] : [`${' '.repeat(width + 11)}${cure}`]),
    ])
    .join('\n');
}
