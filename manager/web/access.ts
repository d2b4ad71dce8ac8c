/**
 * Who may see the page and use it: whoever has the token of the URL that the daemon printed, in a browser whose pages cannot be made to ask for
 * somebody else. Any page that a browser shows can send requests to loopback, by our address or by a name of its own that it lets point there
 * (DNS rebinding), and a cookie goes to all ports of a host: so the host, the origin and what the browser says of the sender are looked at, too.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const SECRET_BYTES = 32;

/** The path that the token is presented at, once: the browser gets a cookie for it, and an address without it. */
export const ENTRY = '/?token=';

export class Access {
  private readonly token = newSecret();
  /** What the cookie holds: of this daemon alone, and not what is in the terminal's history. */
  private readonly session = newSecret();
  private readonly port: number;

  constructor(port: number) {
    this.port = port;
  }

  get url(): string {
    return `${this.origin}${ENTRY}${this.token}`;
  }

  /** False where a name that is not ours led here. */
  isForUs({ headers }: IncomingMessage): boolean {
    return this.hosts.includes(headers.host ?? '');
  }

  /** The request brings the token. */
  isEntry({ method, url = '' }: IncomingMessage): boolean {
    return method === 'GET' && url.startsWith(ENTRY) && isSame(url.slice(ENTRY.length), this.token);
  }

  get cookie(): string {
    return `${this.cookieName}=${this.session}; HttpOnly; SameSite=Strict; Path=/`;
  }

  /** The request brings the cookie. */
  isKnown({ headers }: IncomingMessage): boolean {
    const prefix = `${this.cookieName}=`;
    const cookies = (headers.cookie ?? '').split('; ').filter((each) => each.startsWith(prefix));
    return cookies.some((each) => isSame(each.slice(prefix.length), this.session));
  }

  /** Our own page sent it, or for the page itself, nobody's page did. */
  isOurs({ method, headers }: IncomingMessage, isPage: boolean): boolean {
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && !(isPage && site === 'none')) return false;
    const isChange = method !== 'GET' && method !== 'HEAD';
    if (headers.origin === undefined) return !isChange;
    return headers.origin === `http://${headers.host}`;
  }

  private get origin(): string {
    return `http://${this.hosts[0]}`;
  }

  private get hosts(): string[] {
    return ['127.0.0.1', 'localhost'].map((name) => `${name}:${this.port}`);
  }

  /** Other daemons have other ports, and all share the host's cookies. */
  private get cookieName(): string {
    return `chassis-${this.port}`;
  }
}

function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString('base64url');
}

/** In a time that tells nothing of where they differ, nor of how long the secret is. */
function isSame(given: string, secret: string): boolean {
  const [a, b] = [given, secret].map((text) => createHash('sha256').update(text).digest());
  return timingSafeEqual(a, b);
}
