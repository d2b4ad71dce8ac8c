/** Why no real guest can be had on this machine. */
export type UnavailableCode =
  | 'NO_APT'
  | 'NO_KEYRING'
  | 'NO_MIRROR'
  | 'NO_NETWORK'
  | 'APT_FAILED'
  | 'BAD_PACKAGE'
  | 'QEMU_UNUSABLE'
  | 'UNSUPPORTED_HOST';

/** What can go wrong in the testbed. */
export type TestbedErrorCode = UnavailableCode | 'GUEST_STOPPED' | 'GUEST_TIMEOUT' | 'GUEST_PROTOCOL';

/** A failure with a code, and the way out where there is one. */
export class TestbedError extends Error {
  override readonly name: string = 'TestbedError';
  readonly code: TestbedErrorCode;
  readonly suggestion: string | undefined;

  constructor(code: TestbedErrorCode, message: string, suggestion?: string, options?: ErrorOptions) {
    super(suggestion === undefined ? message : `${message}\n${suggestion}`, options);
    this.code = code;
    this.suggestion = suggestion;
  }
}

/** No QEMU, or no Linux for it, can be had on this machine. */
export class QemuUnavailableError extends TestbedError {
  override readonly name = 'QemuUnavailableError';

  constructor(code: UnavailableCode, message: string, suggestion?: string, options?: ErrorOptions) {
    super(code, message, suggestion, options);
  }
}

/** What a script in the guest answered. */
export interface ShellResult {
  /** Standard output decoded as UTF-8. */
  readonly stdout: string;
  /** Standard error decoded as UTF-8. */
  readonly stderr: string;
  /** Standard output, byte for byte. */
  readonly stdoutBytes: Buffer;
  /** The script's exit status; 128 + n where signal n killed it. */
  readonly exitCode: number;
}

/** A script in the guest ended with a status other than 0. */
export class GuestCommandError extends Error {
  override readonly name = 'GuestCommandError';
  readonly script: string;
  readonly result: ShellResult;

  constructor(script: string, result: ShellResult) {
    const output = [result.stderr, result.stdout].map((text) => text.trim()).filter((text) => text !== '');
    super([`the guest's shell exited with ${result.exitCode}: ${script.trim()}`, ...output].join('\n'));
    this.script = script;
    this.result = result;
  }
}
