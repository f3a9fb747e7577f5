import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';

import { changeSourceSpec } from './source-change.ts';

const current = SourceSpec.fromPartial({
  sourceId: 'id',
  name: 'site',
  type: { $case: 'files', value: { paths: ['/srv'], excludes: ['a'] } },
  limitBytesPerSecond: 5n,
});
const values = SourceSpec.fromPartial({
  sourceId: 'other',
  name: 'other',
  type: { $case: 'files', value: { paths: ['/x'], excludes: ['b'], continuous: true } },
  hooks: { before: ['/bin/true'], timeoutSeconds: 9 },
});

describe('a change of a source', () => {
  it('takes the named fields, leaves everything else, and the specification that it was given', () => {
    const { spec, changes } = changeSourceSpec(current, values, ['excludes', 'before']);
    expect(spec).to.deep.include({ sourceId: 'id', name: 'site', limitBytesPerSecond: 5n });
    expect(spec.type?.value).to.deep.include({ paths: ['/srv'], excludes: ['b'], continuous: false });
    expect(spec.hooks).to.deep.include({ before: ['/bin/true'], timeoutSeconds: 0 });
    expect(changes).to.deep.equal(['excludes ["a"] → ["b"]', 'before [] → ["/bin/true"]']);
    expect(current.type?.value).to.deep.include({ excludes: ['a'] });
  });

  it('says nothing of a field that has its value already', () => {
    expect(changeSourceSpec(current, current, ['excludes', 'limit_bytes_per_second']).changes).to.deep.equal([]);
  });

  it('of an engine changes the settings that are named, and takes away those that are empty', () => {
    const engine = (settings: Record<string, string>): SourceSpec =>
      SourceSpec.fromPartial({
        type: {
          $case: 'engine',
          value: { type: 'postgres', settings: Object.entries(settings).map(([name, value]) => ({ name, value })) },
        },
      });
    const before = engine({ dsn: 'host=/a', walKeep: '1GiB', baseEvery: '1h' });
    const { spec, changes } = changeSourceSpec(before, engine({ walKeep: '2GiB', baseEvery: '', export: 'a' }), [
      'settings',
    ]);
    expect(spec.type).to.deep.equal(engine({ dsn: 'host=/a', export: 'a', walKeep: '2GiB' }).type);
    expect(changes).to.have.length(1);
  });

  it('refuses what is no setting, and a setting of another type', () => {
    for (const field of [
      'name',
      'source_id',
      'constructor',
      '__proto__',
      'Paths',
      'toString',
      '',
      '$case',
      'settings',
    ]) {
      expectError(() => changeSourceSpec(current, values, [field]), 'INVALID_ARGUMENT');
    }
    const engine = SourceSpec.fromPartial({ type: { $case: 'engine', value: { type: 'postgres' } } });
    expectError(() => changeSourceSpec(current, engine, ['excludes']), 'INVALID_ARGUMENT');
    expectError(() => changeSourceSpec(current, values, []), 'INVALID_ARGUMENT');
  });
});
