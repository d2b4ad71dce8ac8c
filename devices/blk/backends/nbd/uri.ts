/** NBD URIs (NetworkBlockDevice/nbd, doc/uri.md): where a server is, and which of its exports is meant. */
import { BlockBackendError } from '../errors.js';
import { NBD_DEFAULT_PORT, NBD_MAX_STRING_BYTES } from './protocol.js';

export interface NbdAddress {
  /** A unix socket, or a host and port. */
  readonly server: { readonly path: string } | { readonly host: string; readonly port: number };
  /** Empty for the server's default export. */
  readonly exportName: string;
}

const EXAMPLES = 'nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH';

/**
 * Understands `nbd://` and `nbd+unix://`. Encryption (`nbds`) is refused: there is none here.
 *
 * @throws BlockBackendError URI_INVALID, or NOT_SUPPORTED for what asks for encryption
 */
export function parseNbdUri(uri: string): NbdAddress {
  const url = parse(uri);
  if (url.protocol === 'nbds:' || url.protocol === 'nbds+unix:' || /[?&]tls-/.test(url.search)) {
    throw new BlockBackendError(
      'NOT_SUPPORTED',
      `${uri} asks for encryption, which this NBD client does not do`,
      'reach the server through a tunnel, or over a unix socket',
    );
  }
  if (url.protocol !== 'nbd:' && url.protocol !== 'nbd+unix:') throw invalid(uri, 'it is no NBD address');
  const exportName = decode(uri, url.pathname.replace(/^\//, ''));
  if (new TextEncoder().encode(exportName).length > NBD_MAX_STRING_BYTES || exportName.includes('\0')) {
    throw invalid(uri, `an export's name has up to ${NBD_MAX_STRING_BYTES} bytes and no NUL`);
  }
  return { server: url.protocol === 'nbd:' ? hostOf(uri, url) : socketOf(uri, url), exportName };
}

function parse(uri: string): URL {
  try {
    return new URL(uri);
  } catch {
    throw invalid(uri, 'it is no address');
  }
}

function hostOf(uri: string, url: URL): { host: string; port: number } {
  if (url.hostname === '') throw invalid(uri, 'it names no host');
  if (url.search !== '') throw invalid(uri, `it has parameters that mean nothing here (${url.search})`);
  const host = decode(uri, url.hostname.replace(/^\[(.*)\]$/, '$1'));
  return { host, port: url.port === '' ? NBD_DEFAULT_PORT : Number(url.port) };
}

function socketOf(uri: string, url: URL): { path: string } {
  if (url.host !== '') throw invalid(uri, 'a unix socket has no host: write three slashes');
  const query = parameters(uri, url);
  const unknown = [...query.keys()].find((key) => key !== 'socket');
  if (unknown !== undefined) throw invalid(uri, `the parameter ${unknown} means nothing here`);
  const path = query.get('socket') ?? '';
  if (path === '' || path.includes('\0')) throw invalid(uri, 'it names no socket');
  return { path };
}

/** Not `URLSearchParams`, which is for HTML forms and makes spaces of plus signs. */
function parameters(uri: string, url: URL): Map<string, string> {
  const pairs = url.search
    .slice(1)
    .split('&')
    .filter((pair) => pair !== '');
  return new Map(
    pairs.map((pair) => {
      const [key, ...value] = pair.split('=');
      return [decode(uri, key), decode(uri, value.join('='))];
    }),
  );
}

function decode(uri: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(uri, 'it has a % that is no escape');
  }
}

function invalid(uri: string, reason: string): BlockBackendError {
  return new BlockBackendError('URI_INVALID', `${JSON.stringify(uri)}: ${reason}`, `write ${EXAMPLES}`);
}
