/** How a Linux client mounts what an export serves. */
import { shellQuote } from '../../devices/shell-quote.js';
import type { ListenAddress } from './listen-address.js';

export interface MountHint {
  readonly msizeBytes: number;
  readonly readOnly: boolean;
}

export function exportMountCommand(address: ListenAddress, { msizeBytes, readOnly }: MountHint): string {
  const [source, transport] =
    address.family === 'unix'
      ? [address.path, 'trans=unix']
      : [address.host, `trans=tcp,port=${address.port}`];
  const options = `${transport},version=9p2000.L,msize=${msizeBytes}${readOnly ? ',ro' : ''}`;
  return `mount -t 9p -o ${options} ${shellQuote(source)} /mnt`;
}
