/** What a command printed, without what is another with each run and on each machine. */

/** Of a key, what stands in the place of its value. */
const CHANGING: Readonly<Record<string, string>> = {
  ...{ pid: '<pid>', formerPid: '<pid>', durationMs: '<ms>', waitedMs: '<ms>', pausedMs: '<ms>' },
  time: '<time>',
  // Some machines have none.
  ...{ sandbox: '<what confines it>', switchSandbox: '<what confines it>' },
};

/** `folders`: what stands for which path, the longest first. */
export function asEver(value: unknown, folders: readonly (readonly [string, string])[]): unknown {
  if (typeof value === 'string') return named(value, folders);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((each) => asEver(each, folders));
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      key,
      key in CHANGING && each !== undefined ? CHANGING[key] : asEver(each, folders),
    ]),
  );
}

export function named(text: string, folders: readonly (readonly [string, string])[]): string {
  return folders
    .reduce((some, [path, name]) => some.replaceAll(path, name), text)
    .replace(/\(pid \d+\)/, '(pid N)');
}
