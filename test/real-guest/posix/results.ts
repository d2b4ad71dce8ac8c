import { SERVERS, type ServerName } from './servers.js';

/** What the suite printed of one case. */
export interface CaseResult {
  /** `area: sentence`. */
  readonly name: string;
  readonly ok: boolean;
  /** What was wrong; empty where nothing was. */
  readonly detail: string;
}

/** Of each server, every case once. */
export type Results = Readonly<Record<ServerName, ReadonlyMap<string, CaseResult>>>;

/** @throws SyntaxError for a line that is no result; Error for a case that comes twice. */
export function parseResults(output: string): Map<string, CaseResult> {
  const results = new Map<string, CaseResult>();
  for (const line of output.split('\n').filter((text) => text !== '')) {
    const result = JSON.parse(line) as CaseResult;
    if (results.has(result.name)) throw new Error(`two cases are called ${result.name}`);
    results.set(result.name, result);
  }
  return results;
}

export function passed(results: Results, server: ServerName, name: string): boolean {
  return results[server].get(name)?.ok ?? false;
}

/** The cases that fail on this project's server and pass on one of those that it is measured by, with what they said. */
export function behindOthers(results: Results): CaseResult[] {
  const peers = ['qemu', 'virtiofsd'] as const;
  return [...results.chassis.values()].filter(
    ({ name, ok }) => !ok && peers.some((peer) => passed(results, peer, name)),
  );
}

/** Each case that fails somewhere. */
export function failing(results: Results): string[] {
  return [...results.chassis.keys()].filter((name) =>
    SERVERS.some((server) => !passed(results, server, name)),
  );
}
