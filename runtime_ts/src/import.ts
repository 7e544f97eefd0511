/** @file A module's name in, its namespace out; the name is no literal, so bundlers for the web leave it alone. */

export async function importModule<T>(name: string): Promise<T> {
  return (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as T;
}
