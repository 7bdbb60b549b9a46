"""Ordinary prose that no grammar made and nobody trains on: what models are judged by."""

PROSE = tuple(
    line.strip()
    for line in """
By the time the ferry reached the island, most of the passengers had fallen asleep on the benches.
The museum keeps its oldest maps in a cool, dark room behind the library.
Nobody in the village could remember a winter when the river had frozen so early.
She folded the letter twice, put it back into its envelope, and said nothing for a while.
If you want the bread to rise well, leave the dough near the stove overnight.
The engineer explained that the bridge had been built for carriages, not for lorries.
There was a smell of wet leaves in the garden, and somewhere a dog was barking.
Although the report was long, it answered only one of the questions we had asked.
My grandfather used to repair clocks, and he never owned one that told the right time.
The price of coffee has doubled since spring, mainly because of the drought.
A narrow path leads from the church down to the harbour, between two stone walls.
What surprised the visitors most was how quiet the factory had become.
He spoke slowly, as people do who have thought about every word beforehand.
The committee will meet again in October to decide whether the school stays open.
Most of the birds that nest on these cliffs spend the winter far out at sea.
Before the storm broke, the whole sky turned the colour of copper.
It isn't easy to learn a language when everyone around you insists on speaking yours.
The children built a raft out of old doors and sailed it across the pond.
Doctors advise walking for half an hour a day, whatever the weather.
Only two of the letters survived, and neither of them was signed.
We hired a small boat and rowed along the shore until the light failed.
The new manager promised better wages, shorter hours and a canteen that served hot meals.
Why the lighthouse was abandoned, no one has ever been able to say.
Her first novel sold poorly, but the second was translated into twenty languages.
A good carpenter measures twice, cuts once, and sweeps the floor afterwards.
The train crossed the plain all afternoon without passing a single house.
Please read the instructions carefully before you connect the machine to the mains.
During the siege the citizens melted their church bells to make cannon.
The software is free, but the people who maintain it still have to eat.
He had the habit of whistling whenever he was about to lose at chess.
Astronomers believe that the planet has no atmosphere and hardly any water.
On Sundays the market square fills with farmers selling cheese, honey and apples.
The judge listened patiently, then asked the witness to begin again from the start.
Even in August there is snow on the northern side of the pass.
The recipe calls for three eggs, a cup of sugar and the juice of two lemons.
They painted the kitchen yellow because it faced north and never saw the sun.
An old proverb says that the best time to plant a tree was twenty years ago.
The violin had belonged to her aunt, who played it in cafés before the war.
Whoever finds the key should hand it in at the front desk.
As the crowd grew, the musicians moved closer to the fountain and played louder.
""".strip().splitlines()
)
