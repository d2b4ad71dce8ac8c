/**
 * host: the only native calls of the project, by koffi, on Linux for x86-64 and arm64.
 *
 * Rules
 * - It imports nothing from the other folders.
 * - A hot call returns a result >= 0 or a negative Linux errno (-2 is -ENOENT), and never throws for what the
 *   outside world can cause. A RangeError means that the program passed a range outside its own buffer.
 * - Set-up calls that an operator waits for (listen, connect, map, create) throw a HostError with `code`,
 *   `syscall` and a message, or Node's own error of the same shape.
 * - Nothing is allocated per call: structures live in buffers of this folder, arguments are numbers. Each
 *   worker thread that loads the folder has its own.
 * - Descriptors are plain numbers, close-on-exec, owned by whoever received them. A descriptor that came from
 *   a peer is checked (`eventfdAdopt`) or made non-blocking before anything is read from or written to it.
 * - `Memory` is a Uint8Array or an address. Addresses come from `addressOf` and `SharedMapping.address`, fit
 *   a Number, and do not keep their memory alive: whoever uses one holds the object it came from, until the
 *   call returns or, for an asynchronous one, completes. Otherwise the system writes into freed memory.
 * - Strings do not occur on the hot path: names are NUL-terminated bytes.
 */
export { closeFd, duplicateFd, setBlocking, setNonBlocking, statusFlags } from './descriptor.js';
export { Errno, HostError } from './errors.js';
export { eventfdAdopt, eventfdCreate, eventfdDrain, eventfdSignal } from './eventfd.js';
export * from './files/index.js';
export { Inotify, InotifyMask, type InotifyListener } from './inotify.js';
export type { Memory } from './libc.js';
export { limit, Rlimit } from './limits.js';
export { memfdCreate, memoryFile, SharedMapping, WINDOW_STRIDE_BYTES } from './memory.js';
export { cloneMount } from './mounts.js';
export { addressOf } from './native-buffer.js';
export { dropBytes, markOf, NO_MARK, peekMessage, setMark } from './peeking.js';
export { bytesInPipe, createPipe, emptyPipe, pourIntoSocket, putIntoPipe, type Pipe } from './pipe.js';
export { EpollEvents, Reactor, type Poller, type ReactorHandler, type ReactorOptions } from './reactor.js';
export {
  acceptConnection,
  connectUnix,
  listenUnix,
  MAX_SOCKET_PATH_BYTES,
  ReceivedFds,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
  socketPair,
  TOO_MANY_FDS,
} from './socket.js';
export { receiveBytes, sendVector } from './stream.js';
export { compileFilter, type DeniedCall } from './system-call-filter.js';
export { listenTcp, setNoDelay, type TcpListener } from './tcp.js';
export { closeTap, openTap, TAP_HEADER_BYTES, TapOffload, tapRead, tapSetOffloads, tapWrite } from './tap.js';
