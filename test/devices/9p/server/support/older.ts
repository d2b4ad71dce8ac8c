/** What the tests of 9P2000 and 9P2000.u say in one line each. */
import { expect } from 'vitest';
import { Client } from './client.js';
import { Fields, NOFID, NOTAG, Older, T, type ReadStat, type Reply } from './wire.js';

/** A client with a file "file" ("hello") that speaks plain 9P2000, attached as user 1000. */
export async function plainClient(): Promise<Client> {
  const client = await clientSpeaking('9P2000');
  await client.ok(Older.attach(1, 0, NOFID, '1000', ''));
  return client;
}

/** The same, of 9P2000.u. */
export async function unixClient(): Promise<Client> {
  const client = await clientSpeaking('9P2000.u');
  await client.ok(T.attach(1, 0, NOFID, 'user', '', 1000));
  return client;
}

async function clientSpeaking(version: string): Promise<Client> {
  const client = new Client();
  client.fs.file('file', 'hello');
  const { fields } = await client.ok(T.version(NOTAG, 8192, version));
  expect([fields.number(4), fields.text()]).toEqual([8192, version]);
  return client;
}

/** The stats in an Rread. */
export function statsIn(data: Uint8Array, unix: boolean): ReadStat[] {
  const fields = new Fields(data);
  const stats: ReadStat[] = [];
  while (fields.left > 0) stats.push(fields.stat(unix));
  return stats;
}

/** The stat of an Rstat. */
export function statOf(reply: Reply, unix: boolean): ReadStat {
  const { fields } = reply;
  expect(fields.number(2)).toBe(fields.left);
  return fields.stat(unix);
}
