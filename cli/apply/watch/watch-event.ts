/** What a watch says: a line of JSON each, or a line of text. */
import type { Problem } from '../manifest/problems.js';
import { planText } from '../plan-text.js';
import type { Done } from '../execute.js';
import type { ApplyPlan } from '../plan/plan-item.js';

export type WatchEvent =
  | { readonly event: 'watching'; readonly path: string }
  /** An edit that cannot be read: what was good before it stays. */
  | { readonly event: 'invalid'; readonly message: string; readonly problems?: readonly Problem[] }
  | { readonly event: 'plan'; readonly plan: ApplyPlan['items'] }
  | { readonly event: 'step'; readonly step: Done; readonly isUndone: boolean }
  | { readonly event: 'in-step'; readonly manifest: string }
  | {
      readonly event: 'failed';
      readonly code: string;
      readonly message: string;
      readonly suggestion?: string;
    }
  /** A directory is gone, or is another one now: its mount is to go. */
  | {
      readonly event: 'source-gone' | 'source-back';
      readonly chassis: string;
      readonly tag: string;
      readonly path: string;
    }
  | { readonly event: 'detached'; readonly chassis: string; readonly tag: string }
  /** The guest has not let go of it: it is asked again. */
  | { readonly event: 'waiting'; readonly chassis: string; readonly tag: string; readonly message: string };

export function watchEventText(event: WatchEvent): string {
  switch (event.event) {
    case 'watching':
      return `watching ${event.path}; Ctrl-C ends it, and leaves what runs as it is`;
    case 'invalid':
      return `the manifest cannot be used, and what was applied before stays:\n${event.message}`;
    case 'plan':
      return planText({ manifest: '', items: event.plan, steps: [] });
    case 'step':
      return `${event.isUndone ? 'undoing: ' : ''}${event.step.operation} (${(event.step.durationMs / 1000).toFixed(1)} s)`;
    case 'in-step':
      return 'all is as the manifest says';
    case 'failed':
      return `not applied: ${event.message}${event.suggestion === undefined ? '' : `\n    ${event.suggestion}`}`;
    case 'source-gone':
      return `${event.path} is gone: ${event.tag} is taken from ${event.chassis} as soon as its guest lets go`;
    case 'source-back':
      return `${event.path} is back`;
    case 'detached':
      return `detached ${event.tag} from ${event.chassis}`;
    case 'waiting':
      return `${event.tag} of ${event.chassis} is still in use: ${event.message}`;
  }
}
