/** @file A manifest and what a device offers in, the variant of the package that it runs best out. */
import { missingOf, type Capabilities } from "./device.ts";
import { InputError, UnsupportedError } from "./errors.ts";
import { BASELINE, type Manifest, type Variant } from "./manifest.ts";

/**
 * The first variant whose requirements are met, undefined for the baseline; or the one that `wanted` names.
 *
 * @throws UnsupportedError, with everything that is missing, if none can run; InputError for an unknown name.
 */
export function chooseVariant(
  { requires, variants }: Manifest, offered: Capabilities, owner: string, wanted?: string,
): Variant | undefined {
  if (wanted === undefined) {
    const best = variants.find((variant) => missingOf(variant.requires, offered).length === 0);
    if (best) return best;
  }
  const named = variants.find(({ name }) => name === wanted);
  if (!named && wanted !== undefined && wanted !== BASELINE) {
    const names = [BASELINE, ...variants.map(({ name }) => name)].map((name) => `"${name}"`);
    throw new InputError(`the package has no variant "${wanted}", only ${names.join(", ")}`);
  }
  const missing = missingOf(named?.requires ?? requires, offered);
  if (missing.length === 0) return named;
  const what = named ? `variant "${named.name}"` : "package";
  throw new UnsupportedError(
    `the ${what} needs ${missing.join(" and ")}, which ${owner} does not have: ` +
      "compile it for a target without these, or create the device with them",
  );
}
