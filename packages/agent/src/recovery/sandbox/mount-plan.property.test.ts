import { expect } from 'chai';
import fc from 'fast-check';
import { isWithin, mountsOf, placesToLayer, type SeenMount } from './mount-plan.ts';

const part = fc.constantFrom('a', 'b', 'srv', 'run', 'proc', 'ab');
const path = fc.array(part, { maxLength: 3 }).map((parts) => `/${parts.join('/')}`);
const mount: fc.Arbitrary<SeenMount> = fc.record({
  path,
  type: fc.constantFrom('ext4', 'xfs', 'proc', 'cgroup2', 'overlay'),
});
const mounts = fc.array(mount, { maxLength: 12 });
const own = fc.array(
  path.filter((one) => one !== '/'),
  { maxLength: 2 },
);

describe('which file systems a sandbox sees', () => {
  it('MP1 the root first, parents before what is in them, each once', () => {
    fc.assert(
      fc.property(mounts, own, (seen, hidden) => {
        const places = placesToLayer(seen, hidden);
        expect(places[0]).to.equal('/');
        expect(new Set(places).size).to.equal(places.length);
        for (const [index, place] of places.entries()) {
          const later = places.slice(index + 1);
          expect(later.some((other) => isWithin(place, other))).to.equal(false);
        }
      }),
    );
  });

  it('MP1 MP3 a file system that is there at last is taken, one beneath a later mount is not', () => {
    fc.assert(
      fc.property(mounts, mount, (seen, last) => {
        const places = placesToLayer([...seen, last], []);
        const stays =
          last.path !== '/' && ['ext4', 'xfs', 'overlay'].includes(last.type) && !/^\/(run|proc)(\/|$)/.test(last.path);
        if (last.path !== '/') expect(places.includes(last.path)).to.equal(stays);
        expect(places.some((place) => place !== last.path && place !== '/' && isWithin(place, last.path))).to.equal(
          false,
        );
      }),
    );
  });

  it('MP2 nothing of what is made anew or hidden is taken', () => {
    fc.assert(
      fc.property(mounts, own, (seen, hidden) => {
        for (const place of placesToLayer(seen, hidden).slice(1)) {
          for (const left of ['/proc', '/run', ...hidden]) expect(isWithin(place, left)).to.equal(false);
        }
      }),
    );
  });

  it('reads the kernel’s list, whose names are escaped and whose lines vary in length', () => {
    const text = [
      '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
      '30 22 0:25 / /srv/with\\040space rw,relatime shared:5 master:1 - xfs /dev/vdb rw',
      '31 22 0:26 /sub /data rw - overlay overlay rw,lowerdir=/a',
      '',
    ].join('\n');
    expect(mountsOf(text)).to.deep.equal([
      { path: '/', type: 'ext4' },
      { path: '/srv/with space', type: 'xfs' },
      { path: '/data', type: 'overlay' },
    ]);
  });
});
