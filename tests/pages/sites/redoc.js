import { init } from '/pages/vendor/redoc.js';

init('/sites/openapi.json', {}, document.getElementById('reference'));
