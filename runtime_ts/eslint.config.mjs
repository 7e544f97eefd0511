// Lint rules of the TypeScript runtime: typescript-eslint's strict, type-aware set.
import tseslint from "typescript-eslint";

export default tseslint.config(
  // Plain scripts and the app are outside of this project, as those of a user are.
  { ignores: ["dist/", "node_modules/", "*.config.mjs", "test/site/", "test/vite_app/"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Indices into linear memory and tables are checked where they enter; `!` says so at the use.
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      // Promises of node:test's own functions are its runner's to wait for.
      "@typescript-eslint/no-floating-promises": ["error", {
        allowForKnownSafeCalls: [{ from: "package", package: "node:test", name: ["test", "describe", "it", "suite"] }],
      }],
      "eqeqeq": "error",
      "max-lines": ["error", 300],
      "max-len": ["error", { "code": 120, "ignoreUrls": true }],
    },
  },
  {
    // Tests change JSON at will.
    files: ["test/**"],
    rules: {
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
    },
  },
);
