/** A systemd service that runs a VMM wired to a chassis. */

export interface VmService {
  readonly chassis: string;
  /** The VMM's program: a path, or a name that systemd looks for. */
  readonly program: string;
  readonly args: readonly string[];
}

export function systemdUnit({ chassis, program, args }: VmService): string {
  return [
    `# /etc/systemd/system/chassis-vm-${chassis}.service`,
    `# For the user that the daemon runs as: User=… here, or ~/.config/systemd/user/ as its place.`,
    `[Unit]`,
    `Description=The VM of the chassis ${chassis}`,
    `Wants=chassis.service`,
    `After=chassis.service`,
    ``,
    `[Service]`,
    `ExecStart=${[quoted(program), ...pairs(args)].join(' \\\n  ')}`,
    ``,
    `[Install]`,
    `WantedBy=default.target`,
  ].join('\n');
}

/** A flag and its value on one line. */
function pairs(args: readonly string[]): string[] {
  const lines: string[] = [];
  for (const arg of args) {
    const last = lines.at(-1);
    const isValue = last !== undefined && !arg.startsWith('-') && !last.includes(' ');
    if (isValue) lines[lines.length - 1] = `${last} ${quoted(arg)}`;
    else lines.push(quoted(arg));
  }
  return lines;
}

/** As systemd.service(5) wants it: `%` and `$` have a meaning in quotes, too. */
function quoted(word: string): string {
  const literal = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  if (/^[\w@%+=:,./$-]+$/.test(literal)) return literal;
  const escaped = literal.replaceAll(/[\\"]/g, String.raw`\$&`).replaceAll('\n', String.raw`\n`);
  return `"${escaped}"`;
}
