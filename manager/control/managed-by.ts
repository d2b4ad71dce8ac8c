/** Who made something: kept with it and shown, so that `chassis apply --prune` removes what it made itself and nothing else. */
import { Type, type Static } from '@sinclair/typebox';

/** A manifest's name, or where it has none, its absolute path. What was made by hand has none. */
export const ManagedBy = Type.String({
  minLength: 1,
  maxLength: 4096,
  description: "a manifest's name or path, of up to 4096 characters",
});
export type ManagedBy = Static<typeof ManagedBy>;
