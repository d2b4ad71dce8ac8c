/**
 * Every command, with what is typed: once where it works at least, and once where it fails. In this order on one daemon, where they go
 * on from one another.
 *
 * `SRC`, `FILES` and others in capitals stand for paths of the test; `--json` and `--dir` are added to each.
 */

export interface Case {
  readonly words: readonly string[];
  /** How much of what was printed is looked at, where it is long, or different on each machine. */
  readonly shown?: (json: never) => unknown;
  /** Whatever it ends with. */
  readonly anyExit?: boolean;
  /** Against the daemon whose guest is this machine; one that is not there; or, of what starts one, where one is. */
  readonly on?: 'guest' | 'nobody' | 'daemon';
  /** It goes on until it is interrupted: in a process of its own, which is, after so many lines of JSON. */
  readonly lines?: number;
}

const typed = (text: string, more: Omit<Case, 'words'> = {}): Case => ({ words: text.split(' '), ...more });
const none = (more: Omit<Case, 'words'> = {}): Case => ({ words: [], ...more });
const keysOf = (json: object) => Object.keys(json);

export const SCENARIOS: Readonly<Record<string, readonly Case[]>> = {
  serve: [none({ lines: 1 }), none({ on: 'daemon' }), typed('--sandbox maybe')],
  doctor: [
    none({
      anyExit: true,
      shown: ({ ok, checks }: { ok: boolean; checks: { name: string }[] }) => ({
        ok: typeof ok,
        checks: checks.map(({ name }) => name),
      }),
    }),
    typed('--no-such-flag'),
  ],
  openapi: [none({ shown: keysOf }), typed('superfluous')],
  completion: [
    typed('bash', {
      shown: ({ shell, text }: { shell: string; text: string }) => ({ shell, text: typeof text }),
    }),
    typed('tcsh'),
  ],
  create: [typed('dev --slots 6'), typed('dev'), typed('No/Name')],
  attach: [
    typed('SRC --tag src --overlay --deny **/.env --via function'),
    typed('WORK --target /work --watch'),
    typed('/no/such/directory'),
    typed('SRC --tag src'),
  ],
  'disk:add': [typed('mem:1M --name scratch'), typed('/no/such.img'), typed('mem:1.5K --name x')],
  'disk:resize': [typed('scratch 2M --shrink'), typed('other 2M')],
  'disk:list': [none(), typed('--chassis other')],
  'net:add': [typed('lan0 --switch lan --vlan 10'), typed('lan0'), typed('x --passt --vlan 3')],
  'net:link': [typed('lan0 down'), typed('lan1 up'), typed('lan0 sideways')],
  'net:list': [none(), typed('--chassis other')],
  list: [none(), none({ on: 'nobody' })],
  show: [typed('dev'), typed('dev --manifest'), typed('other')],
  mounts: [none(), typed('--chassis other')],
  tree: [none(), typed('other')],
  plan: [typed('--mounts 100'), typed('--mounts 100 --chassis dev --via function')],
  args: [
    typed('--memory 512', {
      shown: ({ args, ...rest }: { args: string[] }) => ({
        ...rest,
        args: args.length > 0,
        text: 'the same',
      }),
    }),
    typed('--format cloud-hypervisor'),
  ],
  run: [
    typed('--qemu QEMU', {
      shown: ({ command, ...rest }: { command: string[] }) => ({ command: command.slice(0, 3), ...rest }),
    }),
    typed('--qemu /no/such/qemu'),
    typed('-m 512 superfluous'),
  ],
  'guest-setup': [
    typed('--format udev', {
      shown: ({ path, text }: { path: string; text: string }) => ({ path, text: typeof text }),
    }),
    typed('--format upstart'),
  ],
  policy: [
    typed('src'),
    typed('src --read-only --quota-bytes 1M'),
    typed('other'),
    typed('src --quota-bytes many'),
  ],
  audit: [typed('src'), typed('other')],
  diff: [typed('src'), typed('work'), typed('other')],
  commit: [typed('src added'), typed('src nowhere')],
  discard: [typed('src'), typed('other')],
  capture: [typed('lan0 --out CAPTURE --for 1'), typed('lan1 --out CAPTURE --for 1')],
  metrics: [
    none({
      shown: ({ text }: { text: string }) => ({
        text: text.split('\n').filter((line) => /^# TYPE/.test(line)),
      }),
    }),
    none({ on: 'nobody' }),
  ],
  events: [
    typed('--since start', { lines: 2, shown: (event: object) => ({ ...event, id: '<id>' }) }),
    none({ on: 'nobody' }),
  ],
  top: [none(), typed('--chassis other')],
  wait: [typed('--for gone'), typed('--for booted --timeout 1'), typed('--for booted --mount src')],
  exec: [typed('--chassis dev -- sh -c true', { on: 'guest' }), typed('-- true'), none()],
  cp: [
    typed('WORK dev:GUEST/copy', { on: 'guest' }),
    typed('dev:GUEST/nowhere GUEST/x', { on: 'guest' }),
    typed('a b'),
  ],
  export: [typed('SRC --listen unix:EXPORT', { lines: 1 }), typed('/no/such/directory --listen unix:EXPORT')],
  apply: [
    typed('-f GOOD --dry-run'),
    typed('-f GOOD'),
    typed('-f GOOD'),
    typed('-f BAD'),
    typed('-f BLOCKED'),
    typed('-f FAILING'),
    typed('--schema', { shown: keysOf }),
  ],
  revoke: [typed('src'), typed('other')],
  upgrade: [none(), typed('--chassis other')],
  restart: [typed('dev'), typed('other')],
  detach: [
    typed('work --chassis dev'),
    typed('m --chassis dev'),
    typed('src --chassis dev'),
    typed('other --chassis dev'),
    typed('src --slot --keep-function'),
  ],
  'disk:remove': [typed('scratch'), typed('other')],
  'net:remove': [typed('lan0'), typed('other')],
  save: [
    typed('SAVED --topology', {
      shown: ({ bytes, ...rest }: { bytes: number }) => ({ ...rest, bytes: bytes > 0 }),
    }),
    typed('/no/such/folder/dev.chassis --topology'),
  ],
  remove: [typed('dev'), typed('dev --force'), typed('other')],
  restore: [typed('SAVED'), typed('BAD --chassis x')],
};
