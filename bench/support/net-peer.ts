import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

const MIB = 2 ** 20;
const BLOCK = Buffer.alloc(64 * 1024);

/** The other end of bench/guest/netbench.c: at the host's loopback interface, and the same for each side. */
export class NetPeer {
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(): Promise<NetPeer> {
    const server = createServer((socket) => serve(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new NetPeer(server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  stop(): void {
    this.server.close();
  }
}

/** `s`, `r` or `e`, an amount and a newline; then what was ordered. */
function serve(socket: Socket): void {
  socket.setNoDelay(true).on('error', () => undefined);
  let order = '';
  let left = 0;
  const take = (bytes: Buffer) => {
    if (order.startsWith('e')) return void socket.write(bytes);
    left -= bytes.length;
    if (left === 0) socket.write('.');
  };
  const begin = (bytes: Buffer) => {
    order += bytes.toString('latin1');
    const end = order.indexOf('\n');
    if (end < 0) return;
    const rest = Buffer.from(order.slice(end + 1), 'latin1');
    left = Number(order.slice(1, end)) * MIB;
    socket.off('data', begin);
    if (order.startsWith('r')) return send(socket, left);
    socket.on('data', take);
    if (rest.length > 0) take(rest);
  };
  socket.on('data', begin);
}

function send(socket: Socket, lengthBytes: number): void {
  let left = lengthBytes;
  const more = () => {
    while (left > 0) {
      left -= BLOCK.length;
      if (!socket.write(BLOCK)) return void socket.once('drain', more);
    }
  };
  socket.resume();
  more();
}
