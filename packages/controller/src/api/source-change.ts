// What `source set` changes of a specification: the named fields take the new values, everything else stays.
//
// Hazard: an operator who sends a whole specification undoes what another changed meanwhile. So only named fields travel, and
// they are put into the specification as it is when the row is locked.
//
// Tested in source-change.test.ts. Pure.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { Hooks, SourceSpec, type EngineSource, type Setting } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

interface ChangedSpec {
  readonly spec: SourceSpec;
  /** In words, for the audit trail; empty when every field had its value already. */
  readonly changes: readonly string[];
}

/** Throws INVALID_ARGUMENT for a field that there is not, or not in a source of this type. */
export function changeSourceSpec(
  current: SourceSpec,
  values: SourceSpec | undefined,
  fields: readonly string[],
): ChangedSpec {
  if (fields.length === 0 || values === undefined) throw invalid('nothing is to be changed');
  const spec = SourceSpec.decode(SourceSpec.encode(current).finish());
  const changes: string[] = [];
  for (const field of fields) {
    const [from, to] = FIELDS.get(field)?.(spec, values) ?? typeField(spec, values, field);
    if (from !== to) changes.push(`${field} ${from} → ${to}`);
  }
  return { spec, changes };
}

type Change = (spec: SourceSpec, values: SourceSpec) => [from: string, to: string];

/** Of every type. Each puts its field's new value into `spec`, and tells the old one and the new one. */
const FIELDS: ReadonlyMap<string, Change> = new Map<string, Change>(
  Object.entries({
    limit_bytes_per_second: (spec, values) => {
      const from = spec.limitBytesPerSecond;
      spec.limitBytesPerSecond = values.limitBytesPerSecond;
      return [String(from), String(values.limitBytesPerSecond)];
    },
    compression: (spec, values) => {
      const from = spec.compression;
      spec.compression = values.compression;
      return [shown(from), shown(values.compression)];
    },
    before: hook('before'),
    after: hook('after'),
    timeout_seconds: hook('timeoutSeconds'),
    require_before: hook('requireBefore'),
  } satisfies Record<string, Change>),
);

function hook(key: keyof Hooks): Change {
  return (spec, values) => {
    const from = (spec.hooks ?? Hooks.fromPartial({}))[key];
    const to = (values.hooks ?? Hooks.fromPartial({}))[key];
    spec.hooks = Hooks.fromPartial({ ...spec.hooks, [key]: to });
    return [shown(from), shown(to)];
  };
}

/** A field of the source's own type. */
function typeField(spec: SourceSpec, values: SourceSpec, field: string): [string, string] {
  const type = spec.type;
  const given = values.type;
  if (type === undefined || given === undefined || type.$case !== given.$case || field === 'type') {
    throw invalid(`${field} can't be changed: a source keeps its type`);
  }
  if (type.$case === 'engine' && given.$case === 'engine' && field === 'settings') {
    return engineSettings(type.value, given.value.settings);
  }
  const key = field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  if (field !== field.toLowerCase() || !Object.hasOwn(type.value, key)) {
    throw invalid(`a source of this type has no setting ${JSON.stringify(field.slice(0, 60))}`);
  }
  const from: unknown = Reflect.get(type.value, key);
  const to: unknown = Reflect.get(given.value, key);
  Reflect.set(type.value, key, to);
  return [shown(from), shown(to)];
}

/** Of an engine's settings those that are named; an empty value takes one away. */
function engineSettings(engine: EngineSource, named: readonly Setting[]): [string, string] {
  const merged = new Map(engine.settings.map((setting) => [setting.name, setting]));
  for (const setting of named) {
    if (setting.value === '') merged.delete(setting.name);
    else merged.set(setting.name, setting);
  }
  const from = engine.settings;
  engine.settings = [...merged.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return [shown(from), shown(engine.settings)];
}

const SHOWN_CHARACTERS = 400;

/** A value of the audit trail, which keeps rows short. */
function shown(value: unknown): string {
  const text = JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner));
  if (text === undefined) return 'none';
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS)}…`;
}

function invalid(message: string): HoldfastError {
  return new HoldfastError('INVALID_ARGUMENT', message);
}
