/**
 * The executable of an export: `node main.js [--terms JSON] [--msize BYTES] [--allow-remote] --listen ADDRESS… DIR|mem:`. It tells its
 * parent how it started (`ExportMessage`), and runs until it is interrupted or the parent is gone.
 */
import { parseArgs } from 'node:util';
import { Value } from '@sinclair/typebox/value';
import { Reactor } from '../../host/index.js';
import { create9pSession, openSource } from '../composition.js';
import { ChassisError, MountTerms, type Source } from '../control/api.js';
import type { ExportListening, ExportMessage } from '../control/export-messages.js';
import { checkMount } from '../attachment.js';
import { openMount } from '../mount-file-system.js';
import { claimUpper } from '../upper-check.js';
import { createLog } from '../logging/create-log.js';
import { ExportServer } from './export-server.js';
import { addressText, parseListenAddress, resolveAddress, type ListenAddress } from './listen-address.js';
import { exportMountCommand } from './mount-hint.js';

const OPTIONS = {
  listen: { type: 'string', multiple: true },
  terms: { type: 'string', default: '{"readOnly":false}' },
  msize: { type: 'string' },
  'allow-remote': { type: 'boolean', default: false },
} as const;

/** How long requests may take to end. Where a file system never answers, its export ends all the same. */
const STOP_TIMEOUT_MS = 5000;

const log = createLog({ head: 'chassis export: ', write: (text) => process.stderr.write(text) });

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
  const { 'allow-remote': allowRemote } = values;
  const maxMessageBytes = Number(values.msize);
  const addresses = await resolveAll(values.listen ?? [], allowRemote);
  const source = sourceOf(positionals[0]);
  const terms = termsFor(source, values.terms);
  // Measured on two busy cores, spinning gains a socket's client nothing: waking us is a small part of its two system calls.
  const reactor = new Reactor({ onError: (error) => log.error('a bug', error), maxSpinMicros: 0 });
  const { fs } = await openMount(openSource, source, terms);
  const server = new ExportServer({
    fs,
    createSession: (log) =>
      create9pSession(fs, { maxFids: terms.policy?.maxFids, maxMsizeBytes: maxMessageBytes, log }),
    maxMessageBytes,
    reactor,
    log,
  });
  endWith(server);
  try {
    const bound = addresses.map((address) => server.listen(address));
    reactor.start();
    tell({ listening: bound.map((address) => listening(address, maxMessageBytes, terms.readOnly)) });
  } catch (error) {
    await server.close();
    throw error;
  }
}

async function resolveAll(texts: readonly string[], allowRemote: boolean): Promise<ListenAddress[]> {
  const parsed = texts.map(parseListenAddress);
  return Promise.all(parsed.map((address) => resolveAddress(address, allowRemote)));
}

function sourceOf(argument: string): Source {
  return argument === 'mem:' ? { type: 'memory' } : { type: 'directory', path: argument };
}

/** @throws ChassisError BAD_REQUEST where the mount cannot be had on these terms, or as the source or the upper folder cannot be read */
function termsFor(source: Source, json: string): MountTerms {
  const terms: unknown = JSON.parse(json);
  if (!Value.Check(MountTerms, terms)) throw new ChassisError('BAD_REQUEST', 'these are no terms of a mount');
  checkMount({ source, ...terms });
  if (source.type === 'directory' && terms.overlay?.type === 'directory')
    claimUpper(terms.overlay.path, source.path);
  return terms;
}

function listening(address: ListenAddress, msizeBytes: number, readOnly: boolean): ExportListening {
  return {
    address: addressText(address),
    mountCommand: exportMountCommand(address, { msizeBytes, readOnly }),
  };
}

/** Sockets are removed on every way out but SIGKILL. */
function endWith(server: ExportServer): void {
  const stop = (): void => {
    setTimeout(() => {
      log.warn('requests under way do not end; they are left');
      process.exit(1);
    }, STOP_TIMEOUT_MS).unref();
    server.close().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  process.on('disconnect', stop);
  // A bug in one request must not end the sessions of all others.
  process.on('uncaughtException', (error: unknown) => log.error('a bug', error));
  // Whoever read our output may be gone; that ends nothing.
  process.stderr.on('error', () => undefined);
}

function tell(message: ExportMessage): void {
  process.send?.(message);
}

function fail(error: unknown): never {
  if (error instanceof ChassisError) {
    const { code, message, suggestion } = error;
    tell({ error: { code, message, suggestion } });
  } else {
    log.error('ends', error);
  }
  process.exit(1);
}

main().catch(fail);
