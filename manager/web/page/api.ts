/** Asks the daemon, by way of the server of the page. */
import type { Chassis } from './shapes.js';

/** What was refused, in the daemon's words. */
export class Refusal extends Error {}

export function listChassis(): Promise<Chassis[]> {
  return ask('GET', '/v1/chassis') as Promise<Chassis[]>;
}

/** Resolves once it is done. @throws Refusal */
export async function ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown> {
  const headers = body ? { 'content-type': 'application/json' } : undefined;
  const answer = await fetch(path, {
    method,
    ...(headers && { headers }),
    ...(body && { body: JSON.stringify(body) }),
  }).catch(() => {
    throw new Refusal('the daemon does not answer: has it ended?');
  });
  const value: unknown = await answer.json().catch(() => undefined);
  if (answer.ok) return value;
  const { message, suggestion } = (value ?? {}) as { message?: string; suggestion?: string };
  throw new Refusal([message ?? `status ${answer.status}`, suggestion ?? ''].filter(Boolean).join(': '));
}

/** Where something of a chassis is. */
export function pathOf(chassis: string, ...names: string[]): string {
  return ['/v1/chassis', ...[chassis, ...names].map(encodeURIComponent)].join('/');
}
