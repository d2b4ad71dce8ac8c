/** The page that shows the chassis, on loopback: its own files, and behind them the routes of the API that it uses. */
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ChassisError } from '../control/api.js';
import { Access, ENTRY } from './access.js';
import { forward, isForwarded } from './forwarding.js';
import { PAGE } from './page-html.js';
import { STYLE } from './page-style.js';

export interface WebServerOptions {
  /** Of the API. */
  readonly socketPath: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Where the page's scripts are, where that is not beside this file (tests run from sources). */
  readonly scripts?: URL;
}

interface Asset {
  readonly type: string;
  readonly text: string;
}

const LOOPBACK = '127.0.0.1';
/** A tab has two or three. */
const MAX_CONNECTIONS = 256;

/** No script but those of our own files, nothing from elsewhere, and no place in a page of others. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

export class WebServer {
  private readonly options: WebServerOptions;
  private readonly server: Server;
  private readonly assets: ReadonlyMap<string, Asset>;
  private access!: Access;

  constructor(options: WebServerOptions) {
    this.options = options;
    this.assets = new Map([
      ['/', { type: 'text/html; charset=utf-8', text: PAGE }],
      ['/style.css', { type: 'text/css; charset=utf-8', text: STYLE }],
      ...scriptsIn(options.scripts ?? new URL('./page/', import.meta.url)),
    ]);
    this.server = createServer((request, response) => this.answer(request, response));
    this.server.maxConnections = MAX_CONNECTIONS;
  }

  /** Listens, and answers the URL with the token. @throws ChassisError ADDRESS_IN_USE */
  async start(): Promise<string> {
    const { port } = this.options;
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(port, error)));
      this.server.listen(port, LOOPBACK, resolve);
    });
    this.access = new Access((this.server.address() as AddressInfo).port);
    return this.access.url;
  }

  /** Ends all connections, also of pages that follow what happens. */
  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const { access } = this;
    if (!access.isForUs(request)) return refuse(response, 403, 'This is not the address of the page.');
    if (access.isEntry(request)) {
      response.writeHead(303, { location: '/', 'set-cookie': access.cookie }).end();
      return;
    }
    const isPage = request.url === '/' || (request.url ?? '').startsWith(ENTRY);
    if (!access.isKnown(request) || !access.isOurs(request, isPage))
      return refuse(response, 403, 'Open the address that `chassis serve --web` printed.');
    const asset = request.method === 'GET' ? this.assets.get(request.url ?? '') : undefined;
    if (asset) {
      response.writeHead(200, { 'content-type': asset.type }).end(asset.text);
    } else if (isForwarded(request)) {
      forward(this.options.socketPath, request, response);
    } else refuse(response, 404, 'There is nothing here.');
  }
}

function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', connection: 'close' });
  response.end(`${text}\n`);
}

function scriptsIn(folder: URL): [string, Asset][] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.js'));
  return names.map((name) => [
    `/${name}`,
    { type: 'text/javascript; charset=utf-8', text: readFileSync(new URL(name, folder), 'utf8') },
  ]);
}

function listenError(port: number, error: NodeJS.ErrnoException): Error {
  if (error.code !== 'EADDRINUSE' && error.code !== 'EACCES') return error;
  return new ChassisError(
    'ADDRESS_IN_USE',
    `cannot listen on port ${port} of ${LOOPBACK}: ${error.code}`,
    'leave --web-port out, and any free port is taken',
  );
}
