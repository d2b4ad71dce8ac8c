/**
 * A process that serves a directory to one client, with a journal: `node served-child.js DIRECTORY JOURNAL`. Requests come on the standard
 * input, replies go to the standard output, and both are frames: length[4] number[4] restored[4] message[length - 8].
 */
import { constants, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { Server } from '../../../../../devices/9p/server/server.js';
import { IoVector } from '../../../../../devices/io-vector.js';
import { JournalMemory } from '../../../../../manager/device-process/keeping/journal-memory.js';
import { encodeFrame, Frames } from './frames.js';

const MSIZE_BYTES = 65_536;

const [directory, journal] = process.argv.slice(2);
const options = {
  ...{ maxMsizeBytes: MSIZE_BYTES, readOnly: false, maxFids: 10_000, maxOpenFiles: 1000 },
  log: (message: string, error?: unknown) => void writeSync(2, `${message} ${String(error)}\n`),
};
const store = new JournalMemory(undefined, options.log);
/** In place of the memory file that a daemon would have held. */
const held = openSync(journal, constants.O_RDWR | constants.O_CREAT, 0o600);
if (statSync(journal).size === 0) ftruncateSync(held, 4096);
store.adopt(held);
const server = new Server(await HostDirectory.open(directory), options, store);

function serve(number: number, restored: boolean, message: Uint8Array): void {
  const request = new IoVector();
  request.push(message, 0, message.length, 0);
  const bytes = new Uint8Array(MSIZE_BYTES);
  const reply = new IoVector();
  reply.push(bytes, 0, bytes.length, 0);
  const done = (_: undefined, replyBytes: number): void =>
    void writeSync(1, encodeFrame(number, false, bytes.subarray(0, replyBytes)));
  server.handle(request, reply, done, undefined, { inflightNumber: number, restored });
}

const frames = new Frames(serve);
void server.recover();
process.stdin.on('data', (chunk: Buffer) => frames.take(chunk));
