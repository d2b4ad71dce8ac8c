/** Where an export listens: `unix:/path` or `tcp:HOST:PORT`, as the operator writes it. */
import { lookup } from 'node:dns/promises';
import { resolve } from 'node:path';
import { ChassisError } from '../control/api.js';

export type ListenAddress =
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'tcp'; readonly host: string; readonly port: number };

const PORT_MAX = 65_535;
const FORMS = 'write unix:/path/of/socket, tcp:HOST:PORT or tcp:[IPV6]:PORT';

/** @throws ChassisError BAD_REQUEST */
export function parseListenAddress(text: string): ListenAddress {
  if (text.startsWith('unix:')) return unixAddress(text, text.slice('unix:'.length));
  const { host, six, port } =
    /^tcp:(?:\[(?<six>[^\]]+)\]|(?<host>[^:]+)):(?<port>\d{1,5})$/.exec(text)?.groups ?? {};
  const number = Number(port);
  if (port === undefined || number > PORT_MAX)
    throw new ChassisError('BAD_REQUEST', `${JSON.stringify(text)} is no address to listen on`, FORMS);
  return { family: 'tcp', host: six ?? host, port: number };
}

function unixAddress(text: string, path: string): ListenAddress {
  if (path !== '' && !path.includes('\0')) return { family: 'unix', path: resolve(path) };
  throw new ChassisError('BAD_REQUEST', `${JSON.stringify(text)} names no path`, FORMS);
}

/** As the operator would write it. */
export function addressText(address: ListenAddress): string {
  if (address.family === 'unix') return `unix:${address.path}`;
  const { host, port } = address;
  return `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/**
 * The address with its host as a number. Whoever reaches a 9p server may do what its user may: one that other machines reach
 * wants `allowRemote`. @throws ChassisError BAD_REQUEST
 */
export async function resolveAddress(address: ListenAddress, allowRemote: boolean): Promise<ListenAddress> {
  if (address.family === 'unix') return address;
  const host = await numericHost(address.host);
  if (allowRemote || isLoopback(host)) return { ...address, host };
  throw new ChassisError(
    'BAD_REQUEST',
    `${addressText(address)} can be reached from other machines, and 9p asks nobody who they are`,
    'listen on 127.0.0.1 and tunnel, or say --allow-remote',
  );
}

async function numericHost(host: string): Promise<string> {
  try {
    return (await lookup(host)).address;
  } catch {
    throw new ChassisError('BAD_REQUEST', `no address is known for ${JSON.stringify(host)}`, FORMS);
  }
}

function isLoopback(numericHost: string): boolean {
  return /^127\.\d+\.\d+\.\d+$/.test(numericHost) || numericHost === '::1';
}
