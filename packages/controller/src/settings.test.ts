import { expect } from 'chai';

import { quotaOf, settingsSchema } from './settings.ts';

describe('the controller’s settings', () => {
  it('take sizes in bytes or binary units, and nothing else', () => {
    const { reserve, quota, quotas } = settingsSchema.parse({
      reserve: '1.5 GiB',
      quota: '2TiB',
      quotas: { small: '500MiB', none: 0 },
    });
    expect([reserve, quota]).to.deep.equal([1.5 * 2 ** 30, 2 ** 41]);
    expect(settingsSchema.parse({ reserve: 4096 }).reserve).to.equal(4096);
    for (const wrong of ['5 GB', '-1', '1e9', 'much', '9999999TiB', 1.5, -1, null]) {
      expect(settingsSchema.safeParse({ quota: wrong }).success, String(wrong)).to.equal(false);
    }
    const of = (name: string): number => quotaOf({ quota, quotas }, name);
    expect([of('small'), of('none'), of('other'), of('constructor')]).to.deep.equal([
      500 * 2 ** 20,
      0,
      2 ** 41,
      2 ** 41,
    ]);
    expect(quotaOf(settingsSchema.parse({}), 'default')).to.equal(0);
  });

  it('bound how many runs of recovery plans work at the same time', () => {
    const of = (given: unknown): number | undefined =>
      settingsSchema.safeParse({ recovery: { runs_at_once: given } }).data?.recovery.runs_at_once;
    expect(settingsSchema.parse({}).recovery.runs_at_once).to.equal(4);
    expect([1, 64, 0, 65, 2.5, '4', null].map(of)).to.deep.equal([1, 64, ...Array<undefined>(5).fill(undefined)]);
  });
});
