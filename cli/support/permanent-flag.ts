import { Flags } from '@oclif/core';

/** --permanent, of what is not to be undone by `verb` any more. */
export const permanentFlag = (verb: string) =>
  Flags.boolean({
    description: `Promise not to ${verb} while the VM runs: faster interrupts where the VMM could not unplug it`,
  });
