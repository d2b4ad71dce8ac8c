/** An attach whose mounts have been looked at: what each of them is to show, and on what terms. */
import { Rules } from '../devices/9p/fs/policy/policy.js';
import { PatternError } from '../devices/9p/fs/policy/patterns.js';
import { IdentityError, IdMap } from '../devices/9p/fs/identity/ids.js';
import { ChassisError, type AttachRequest, type MountRequest, type MountTerms } from './control/api.js';
import type { Plan, Policy, Source } from './control/api.js';
import { checkSource } from './source-check.js';

export interface MountToAttach extends MountTerms {
  readonly tag: string;
  readonly source: Source;
  readonly target?: string;
  readonly watch?: boolean;
}

export interface Attachment extends Omit<AttachRequest, 'mounts'> {
  readonly mounts: readonly MountToAttach[];
}

type Terms = Pick<MountRequest, 'source' | 'policy' | 'owner'> & { readonly overlay?: unknown };

/** @throws ChassisError where the source cannot be shown at all, or not on these terms */
export function checkMount({ source, policy, owner, overlay }: Terms): void {
  checkSource(source);
  checkPolicy(policy);
  if (owner?.type === 'ranges') checkRanges(owner);
  if (source.type !== 'memory') return;
  if (overlay !== undefined)
    throw refusal('mem: has nothing that could be left as it is', 'attach it without --overlay');
  if (owner?.type === 'mapped')
    throw refusal('mem: keeps owners and modes by itself', 'attach it without --owner mapped');
}

/** @throws ChassisError BAD_REQUEST */
export function checkPolicy(policy: Policy | undefined): void {
  try {
    new Rules({ allow: policy?.allow, deny: policy?.deny });
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw refusal(error.message, 'docs/file-systems.md says what patterns are');
  }
}

/** @throws ChassisError BAD_REQUEST where what is to carry the mount cannot keep to its policy */
export function checkCarrier(via: Plan['via'], policy: Policy | undefined): void {
  if (via !== 'tree' || policy?.maxFids === undefined) return;
  throw refusal(
    'the mounts of the tree share one session, so that no limit on fids is for one of them alone',
    'leave --max-fids out, or use --via function',
  );
}

function checkRanges({ uids, gids }: { uids: IdRanges; gids: IdRanges }): void {
  try {
    new IdMap(uids);
    new IdMap(gids);
  } catch (error) {
    if (!(error instanceof IdentityError)) throw error;
    throw refusal(error.message, 'see --owner in: chassis attach --help');
  }
  if (uids.length === 0 || gids.length === 0)
    throw refusal(
      `there is no range for ${uids.length === 0 ? 'users' : 'groups'}, so that the guest could make no file`,
      'give ranges for both, see --owner in: chassis attach --help',
    );
}

type IdRanges = ConstructorParameters<typeof IdMap>[0];

function refusal(message: string, suggestion: string): ChassisError {
  return new ChassisError('BAD_REQUEST', message, suggestion);
}
